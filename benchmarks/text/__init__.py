"""Classifiers that need no fine-tuning: what stands beside every tuned score, and ways of their own.

Each has `fit(data)`, which learns from labelled texts, and `predict_proba(texts)`, which gives (N, K) in the order of
`space.names`: rows that sum to 1 for single, ordinal and hierarchical labels (the paths are the classes), a probability of
each label alone for multi. A class without training rows gets probability 0 (majority, neighbours) or below 1e-12 (logistic
regression); zero-shot knows no rows and gives each class its own.
"""
