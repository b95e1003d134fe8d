"""Spans in texts: token classification, from labelled words or characters to entities."""
