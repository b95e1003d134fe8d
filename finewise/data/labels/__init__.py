"""Labelled texts: read, understood as classes, split so that every class is in proportion, audited."""
