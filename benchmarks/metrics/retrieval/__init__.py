"""The metrics of ranked retrieval as an `evaluate` module."""
