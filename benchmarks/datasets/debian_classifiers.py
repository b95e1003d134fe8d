"""Reference figures: the most frequent class and TF-IDF + logistic regression, for one label per text and for several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=min_texts, sublinear_tf=True, dtype=np.float32)
    model = LogisticRegression(C=C, class_weight="balanced" if balanced else None, max_iter=1_000)
    model.fit(words.fit_transform(train.texts), train.labels)
    return [scores(part.labels, list(model.predict(words.transform(part.texts)))) for part in parts]


ONE_VS_REST_C = 10.0  # of 3, 10, 30, 100 on dev of debian-tags: average precision within .002 of the best, either way


@dataclass(slots=True, kw_only=True, frozen=True)
class Tagged:
    """Texts with the labels of each."""

    texts: Sequence[str]
    labels: Sequence[Sequence[str]]


@dataclass(slots=True, kw_only=True, frozen=True)
class TaggedScores:
    """F1 over all decisions, mean F1 and mean average precision of the labels that occur; all in [0, 1]."""

    micro_f1: float
    macro_f1: float
    average_precision: float


def tagged_scores(truth: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> TaggedScores:
    """Scores at a threshold of 0.5; the means are over the labels that occur in `truth`. Both arrays: (texts, labels)."""
    from sklearn.metrics import average_precision_score, f1_score

    there = truth.any(axis=0)
    predicted = probabilities >= 0.5
    return TaggedScores(
        micro_f1=float(f1_score(truth, predicted, average="micro", zero_division=0.0)),
        macro_f1=float(f1_score(truth[:, there], predicted[:, there], average="macro", zero_division=0.0)),
        average_precision=float(average_precision_score(truth[:, there], probabilities[:, there], average="macro")),
    )


def label_shares(train: Tagged, parts: Sequence[Tagged]) -> list[TaggedScores]:
    """Every text gets each label with the label's share of train: the floor that any model has to beat."""
    names = _names(train)
    share = _matrix(train, names).mean(axis=0)
    return [tagged_scores(_matrix(part, names), np.tile(share, (len(part.texts), 1))) for part in parts]


def tfidf_one_vs_rest(
    train: Tagged, parts: Sequence[Tagged], *, balanced: bool, c: float = ONE_VS_REST_C, min_texts: int = MIN_TEXTS
) -> list[TaggedScores]:
    """A logistic regression per label on TF-IDF of words and pairs of words: the scores on each of `parts`.

    Args:
        train: What is learnt from.
        parts: What is scored.
        balanced: Weigh the rows with and without a label so that both count the same.
        c: Inverse strength of the L2 penalty.
        min_texts: Leave out what is in fewer texts of train.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    names = _names(train)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=min_texts, sublinear_tf=True, dtype=np.float32)
    one = LogisticRegression(C=c, class_weight="balanced" if balanced else None, solver="liblinear", random_state=0)
    model = OneVsRestClassifier(one).fit(words.fit_transform(train.texts), _matrix(train, names).astype(int))
    return [
        tagged_scores(_matrix(part, names), np.asarray(model.predict_proba(words.transform(part.texts))))
        for part in parts
    ]


def _names(tagged: Tagged) -> list[str]:
    return sorted({name for labels in tagged.labels for name in labels})


def _matrix(tagged: Tagged, names: Sequence[str]) -> NDArray[np.bool_]:
    place = {name: column for column, name in enumerate(names)}
    matrix = np.zeros((len(tagged.texts), len(names)), dtype=bool)
    for row, labels in enumerate(tagged.labels):
        matrix[row, [place[name] for name in labels]] = True
    return matrix
