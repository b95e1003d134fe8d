"""Branch: fine-tune a text classifier, and turn its outputs into decisions that one can act on."""
