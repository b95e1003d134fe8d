"""Needle in a haystack, RULER's tasks and NoLiMa's: where in a long text a model still finds what it was told."""
