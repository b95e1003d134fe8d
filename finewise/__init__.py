"""finewise: fine-tune text models, wisely. The trunk that every branch's training shares."""

__version__ = "0.1.0"
