"""With which texts a model is read on dev."""

DEV_SEEDS = 1_000_000
"""Added to the seed of dev's texts, so that they are not those of test."""
