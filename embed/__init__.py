"""Branch: contrastive fine-tuning of embedding models."""
