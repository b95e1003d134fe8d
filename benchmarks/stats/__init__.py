"""Intervals and tests of every number that finewise prints: one engine, weights in, statistic out."""
