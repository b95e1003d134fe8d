"""The metrics: pure functions, and the same functions as `evaluate` modules."""
