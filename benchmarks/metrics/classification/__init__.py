"""The metrics of classification as an `evaluate` module."""
