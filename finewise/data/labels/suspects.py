"""Likely label errors: training rows whose label a model that has not seen them does not believe.

Out-of-fold probabilities (TF-IDF and logistic regression, or those of a caller) are judged by cleanlab: Northcutt, Jiang and
Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021; multi-label: Thyagarajan et al., Identifying
Incorrect Annotations in Multi-Label Classification Data, 2022.
"""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finewise.data.keys import combine
from finewise.data.labels.rows import Labelled
from finewise.data.labels.splits import sample
from finewise.data.store import entry, made_by

FOLDS = 5
"""Folds of the default's cross-validation; a class with fewer rows is not judged."""
WORK = 5_000_000
"""Rows times classes that the default looks at: about half a minute on one core."""

MODULES = ("finewise.data.labels.suspects", "finewise.data.labels.splits")
LIBRARIES = ("cleanlab", "numpy", "scikit-learn", "scipy")
FILE = "suspects.npz"

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Suspects:
    """M judged rows, the likeliest label errors first.

    Attributes:
        rows: (M,) their places in the data.
        quality: (M,) cleanlab's label quality, 0 (surely wrong) to 1, ascending.
        suggested: (M,) the class that the model would give; of multi-label data the one that it would add or take away.
        probability: (M,) how likely the suggestion is.
        given: (M,) how likely the given label is.
        likely: How many rows cleanlab takes for errors; the first ones are meant.
        agreement: In what share of the judged rows the model itself chooses the given label; of multi-label data, what
            share of the labels that either gives both give.
        remarks: What was not judged, and why.
    """

    rows: Rows
    quality: NDArray[np.float64]
    suggested: Rows
    probability: NDArray[np.float64]
    given: NDArray[np.float64]
    likely: int
    agreement: float
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def suspects(
    data: Labelled, seed: int, *, most: int = 200_000, probabilities: NDArray[np.float64] | None = None
) -> Suspects:
    """Rank rows by how likely their label is wrong; what the default finds is kept by content.

    Args:
        data: The rows.
        seed: Of the folds, and of the sample of rows.
        most: Look at no more rows than this.
        probabilities: (N, K) out-of-fold probabilities of a better model; None: computed here.
    """
    if probabilities is not None:
        return _judged(data, np.arange(len(data)), probabilities)
    made = made_by(MODULES, LIBRARIES)

    def build(folder: Path) -> dict[str, Any]:
        found = _by_default(data, seed, most)
        np.savez(
            folder / FILE,
            rows=found.rows,
            quality=found.quality,
            suggested=found.suggested,
            probability=found.probability,
            given=found.given,
        )
        return {"likely": found.likely, "agreement": found.agreement, "remarks": found.remarks}

    folder, about = entry(combine("suspects", made, data.revision, seed, most), build, kind="audits")
    with np.load(folder / FILE) as arrays:
        return Suspects(**arrays, likely=about["likely"], agreement=about["agreement"], remarks=tuple(about["remarks"]))


def _by_default(data: Labelled, seed: int, most: int) -> Suspects:
    count = min(most, WORK // len(data.space))
    drawn = sample(data, count, seed) if count < len(data) else data
    rows = np.searchsorted(data.numbers, drawn.numbers) if drawn is not data else np.arange(len(data))
    found = _judged(drawn, rows, out_of_fold(drawn, seed))
    if len(drawn) < len(data):
        looked = f"likely label errors were looked for in {len(drawn):,} of {len(data):,} training rows"
        return replace(found, remarks=(looked, *found.remarks))
    return found


def out_of_fold(data: Labelled, seed: int) -> NDArray[np.float64]:
    """Return (N, K) probabilities by models that have not seen the row: TF-IDF and logistic regression, by SGD.

    Args:
        data: The rows; at least FOLDS.
        seed: Of the folds and of SGD.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import KFold, StratifiedKFold
    from sklearn.multiclass import OneVsRestClassifier

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+", max_features=50_000, dtype=np.float32)
    features = words.fit_transform(data.texts)
    multi = data.labels.ndim == 2
    found = np.zeros((len(data), len(data.space)))
    stratified = not multi and int(data.counts.max()) >= FOLDS
    folds = (StratifiedKFold if stratified else KFold)(min(FOLDS, len(data)), shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", "Label .* is present in all training examples", UserWarning)
        for learn, judge in folds.split(features, data.labels if stratified else None):
            model: Any = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=5, tol=None, random_state=seed)
            if multi:
                model = OneVsRestClassifier(model).fit(features[learn], data.labels[learn])
                # Of a single label it gives two columns: without it, and with it.
                found[judge] = model.predict_proba(features[judge])[:, -len(data.space) :]
            elif len(known := np.unique(data.labels[learn])) == 1:
                found[np.ix_(judge, known)] = 1.0
            else:
                model.fit(features[learn], data.labels[learn])
                found[np.ix_(judge, model.classes_)] = model.predict_proba(features[judge])
    return found if multi else found / found.sum(axis=1, keepdims=True)


def _judged(data: Labelled, rows: Rows, probabilities: NDArray[np.float64]) -> Suspects:
    counts = data.counts
    judged = np.flatnonzero((counts >= FOLDS) & (counts <= len(data) - (FOLDS if data.labels.ndim == 2 else 0)))
    remarks = []
    few = int(((counts > 0) & (counts < FOLDS)).sum())
    if few:
        remarks.append(f"likely label errors: rows of {few} classes with fewer than {FOLDS} rows could not be judged")
    if len(judged) < 2:  # cleanlab compares labels with one another
        nothing, none = np.zeros(0), np.zeros(0, dtype=np.int64)
        return Suspects(
            rows=none,
            quality=nothing,
            suggested=none,
            probability=nothing,
            given=nothing,
            likely=0,
            agreement=0.0,
            remarks=(
                "likely label errors were not looked for: "
                + ("there is one label" if len(data.space) == 1 else "the classes have too few rows"),
            ),
        )
    rank = _multi if data.labels.ndim == 2 else _single
    places, quality, suggested, given, likely = rank(data.labels, probabilities, judged)
    order = np.argsort(quality, kind="stable")
    places, suggested = places[order], judged[suggested[order]]
    own = probabilities[places, suggested]
    if data.labels.ndim == 2:
        chosen, gold = probabilities[places] >= 0.5, data.labels[places]
        agrees = (chosen & gold)[chosen | gold]
    else:
        agrees = probabilities[places].argmax(axis=1) == data.labels[places]
    return Suspects(
        rows=rows[places],
        quality=quality[order],
        suggested=suggested,
        probability=np.where(data.labels[places, suggested], 1 - own, own) if data.labels.ndim == 2 else own,
        given=given[order],
        likely=likely,
        agreement=float(agrees.mean()) if len(agrees) else 0.0,
        remarks=tuple(remarks),
    )


Ranked = tuple[Rows, NDArray[np.float64], Rows, NDArray[np.float64], int]
"""Places of the judged rows, their quality, the suggested class among the judged, the given label's probability; how many
are likely wrong."""


def _single(labels: Rows, probabilities: NDArray[np.float64], judged: Rows) -> Ranked:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_self_confidence_for_each_label

    places = np.flatnonzero(np.isin(labels, judged))
    mine = np.searchsorted(judged, labels[places])
    shares = probabilities[np.ix_(places, judged)]
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    quality = get_self_confidence_for_each_label(mine, shares)
    wrong = find_label_issues(mine, shares, n_jobs=1)
    others = shares.copy()
    others[np.arange(len(mine)), mine] = -1.0
    return (
        places,
        np.asarray(quality, np.float64),
        others.argmax(axis=1),
        probabilities[places, labels[places]],
        int(wrong.sum()),
    )


def _multi(labels: NDArray[np.bool_], probabilities: NDArray[np.float64], judged: Rows) -> Ranked:
    from cleanlab.multilabel_classification import get_label_quality_scores
    from cleanlab.multilabel_classification.filter import find_label_issues

    mine, shares = labels[:, judged], probabilities[:, judged]
    lists = [np.flatnonzero(row).tolist() for row in mine]
    # The worst label decides: of planted errors in debian-tags three times as many come first as with the default's average.
    quality = get_label_quality_scores(lists, shares, aggregator_kwargs={"method": np.min})
    wrong = find_label_issues(lists, shares, n_jobs=1)
    believed = np.where(mine, shares, 1 - shares)
    worst = believed.argmin(axis=1)
    return np.arange(len(mine)), np.asarray(quality, np.float64), worst, believed.min(axis=1), int(np.sum(wrong))


def advice(data: Labelled, row: int, suggested: int) -> str:
    """Return a suggestion as people read it: the other label, or which label to add (+) or to take away (-)."""
    name = data.space.names[suggested]
    if data.labels.ndim == 1:
        return name
    return f"-{name}" if data.labels[row, suggested] else f"+{name}"
