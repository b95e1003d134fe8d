"""Reference figures for a set with one label per text: the most frequent class, and TF-IDF + logistic regression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

C = 100.0  # of 10, 30, 100, 300 on dev of debian-sections: macro-F1 within .005 of the best, with class weights or without
MIN_TEXTS = 5  # a word or pair of words must be in that many texts: no worse on dev than 2, and four times as fast


@dataclass(slots=True, kw_only=True, frozen=True)
class Labelled:
    """Texts with the label of each."""

    texts: Sequence[str]
    labels: Sequence[str]


@dataclass(slots=True, kw_only=True, frozen=True)
class Scores:
    """Accuracy and macro-F1, both in [0, 1]."""

    accuracy: float
    macro_f1: float


def scores(labels: Sequence[str], predicted: Sequence[str]) -> Scores:
    """Accuracy, and the mean F1 of the classes that occur in `labels`, each counting the same."""
    from sklearn.metrics import accuracy_score, f1_score

    classes = sorted(set(labels))
    return Scores(
        accuracy=float(accuracy_score(labels, predicted)),
        macro_f1=float(f1_score(labels, predicted, labels=classes, average="macro", zero_division=0.0)),
    )


def majority(train: Labelled, test: Labelled) -> Scores:
    """Every text gets the most frequent class of train."""
    most = Counter(train.labels).most_common(1)[0][0]
    return scores(test.labels, [most] * len(test.labels))


def tfidf_logistic_regression(
    train: Labelled, parts: Sequence[Labelled], *, balanced: bool, min_texts: int = MIN_TEXTS
) -> list[Scores]:
    """Multinomial logistic regression on TF-IDF of words and pairs of words: the scores on each of `parts`.

    Args:
        train: What is learnt from.
        parts: What is scored.
        balanced: Weigh a row by the inverse of its class's frequency (scikit-learn's class_weight="balanced").
        min_texts: Leave out what is in fewer texts of train.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=min_texts, sublinear_tf=True, dtype=np.float32)
    model = LogisticRegression(C=C, class_weight="balanced" if balanced else None, max_iter=1_000)
    model.fit(words.fit_transform(train.texts), train.labels)
    return [scores(part.labels, list(model.predict(words.transform(part.texts)))) for part in parts]
