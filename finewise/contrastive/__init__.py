"""Contrastive training of encoders: the losses, batches that keep known positives apart, and the trainer."""
