"""`method=stack` and `stack_probe`: a classifier and TF-IDF with logistic regression, weighted by what they are worth on dev.

The logits of the stack are a weighted sum of both parts' log-probabilities (log odds for multi-label data), with two weights
that are at least 0 and minimise the log loss of dev (stacked generalisation: Wolpert 1992; weights of at least 0: Breiman
1996). What is reported of dev, and what decisions are fitted on, is cross-fitted: each row's logits come from weights that
were fitted on the other folds. The checkpoint of a fine-tuned classifier was chosen on the same dev rows, which
flatters it a little.

Shapes: N texts, K labels, V words.
"""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize
from scipy.special import expit, log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.text.folds import folds, quality
from benchmarks.text.logistic import Logistic, probabilities
from benchmarks.text.words import TfidfLogistic
from benchmarks.text_baselines import MOST_ROWS
from finewise.console import say
from finewise.data.labels.rows import Labelled
from finewise.data.labels.splits import sample
from finewise.errors import InputError

FILE = "stack.json"
WEIGHTS = "stack.safetensors"
VERSION = 1
PART = "without_tfidf"
"""What tables call the classifier alone, without the TF-IDF that it is stacked with."""

FOLDS = 5
MOST = 20.0
"""Largest weight of a part: on dev rows that a part gets all right, the log loss would fall for ever."""

_VECTORIZER = (
    "analyzer",
    "binary",
    "lowercase",
    "max_df",
    "min_df",
    "ngram_range",
    "norm",
    "preprocessor",
    "smooth_idf",
    "stop_words",
    "strip_accents",
    "sublinear_tf",
    "token_pattern",
    "tokenizer",
    "use_idf",
)
"""Settings of a TfidfVectorizer that decide what it makes of a text once its vocabulary is known."""

_OWN_CODE = ("benchmarks.", "finewise.", "classify.")

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stack:
    """What is combined with a classifier's logits.

    Attributes:
        words: The fitted TF-IDF.
        linear: Logistic regression on it.
        model_weight: Of the classifier's log-probabilities.
        words_weight: Of TF-IDF's.
    """

    words: TfidfVectorizer
    linear: Logistic
    model_weight: float
    words_weight: float

    def combine(self, raw: Values, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the logits of the stack (N, K) for the classifier's logits of the same texts."""
        weights = np.array([self.model_weight, self.words_weight])
        return _weighted(_parts(raw, self._logits(texts), self.linear.multi), weights)

    def _logits(self, texts: Sequence[str]) -> Values:
        found: Values = self.words.transform(texts) @ self.linear.coef.T + self.linear.intercept
        return found

    def save(self, folder: Path) -> None:
        """Write stack.json and stack.safetensors into the folder of the classifier."""
        save_file(
            {
                "idf": np.ascontiguousarray(self.words.idf_),
                "coef": np.ascontiguousarray(self.linear.coef),
                "intercept": np.ascontiguousarray(self.linear.intercept),
            },
            folder / WEIGHTS,
        )
        vocabulary = self.words.vocabulary_
        given = self.words.get_params()
        content = {
            "version": VERSION,
            "multi": self.linear.multi,
            "model_weight": self.model_weight,
            "words_weight": self.words_weight,
            "vectorizer": {key: _written(given[key]) for key in _VECTORIZER},
            "vocabulary": sorted(vocabulary, key=vocabulary.__getitem__),
        }
        (folder / FILE).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, labels: int) -> Self | None:
        """Read what `save` wrote; None if the folder holds no stack.

        Args:
            folder: Of a classifier.
            labels: K of the classifier.

        Raises:
            InputError: The files are damaged, of another version, or for another number of labels.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']!r} instead of {VERSION}")
            weights = load_file(folder / WEIGHTS)
            settings = {key: _read(value) for key, value in content["vectorizer"].items()}
            settings["ngram_range"] = tuple(settings["ngram_range"])
            words = TfidfVectorizer(
                **settings,
                dtype=np.float32,
                vocabulary={word: place for place, word in enumerate(content["vocabulary"])},
            )
            words.idf_ = weights["idf"]
            linear = Logistic(labels)
            linear.multi, linear.coef, linear.intercept = content["multi"], weights["coef"], weights["intercept"]
            if linear.coef.shape != (labels, len(content["vocabulary"])) or linear.intercept.shape != (labels,):
                raise ValueError(f"weights {linear.coef.shape} for {labels} labels")
            model_weight, words_weight = float(content["model_weight"]), float(content["words_weight"])
        except Exception as error:  # whatever json, safetensors and scikit-learn raise for a damaged file
            raise InputError(
                f"{path} is damaged or incomplete ({' '.join(str(error).split())[:200]}); save the model again, or delete "
                "the file and decisions.json to predict with the classifier alone"
            ) from None
        return cls(words=words, linear=linear, model_weight=model_weight, words_weight=words_weight)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedStack:
    """A stack, and what dev says of it.

    Attributes:
        stack: With weights from all dev rows.
        alone: (N, K) the classifier's own logits on dev.
        held_out: (N, K) the stack's logits on dev, each row's from weights of the other folds.
        dev: System -> the selection metric on dev; of the stack, of `held_out`.
    """

    stack: Stack
    alone: Values
    held_out: Values
    dev: dict[str, float]

    def summary(self) -> dict[str, Any]:
        """Return what a record says."""
        return {
            "weights": {PART: self.stack.model_weight, "tfidf_lr": self.stack.words_weight},
            "dev": self.dev,
        }


def fit_words(train: Labelled, metric: str, seed: int) -> TfidfLogistic:
    """Return TF-IDF with logistic regression, fitted on the training rows, or on a sample of many."""
    return TfidfLogistic(metric=metric, seed=seed).fit(sample(train, MOST_ROWS, seed))


def fit_stack(raw: Values, tfidf: TfidfLogistic, dev: Labelled, metric: str, seed: int) -> FittedStack:
    """Fit the weights of both parts on dev.

    Args:
        raw: (N, K) the classifier's logits on dev.
        tfidf: Fitted on the training rows.
        dev: The dev rows.
        metric: That dev is scored by.
        seed: Of the folds.
    """
    base = Stack(words=tfidf.words, linear=tfidf.model, model_weight=0.5, words_weight=0.5)
    multi = dev.labels.ndim == 2
    words = base._logits(dev.texts)
    parts = _parts(raw, words, multi)
    cut = folds(dev, FOLDS, seed)
    if cut:
        held = np.empty(parts.shape[1:], np.float32)
        for learn, judge in cut:
            held[judge] = _weighted(parts[:, judge], _fit_weights(parts[:, learn], dev.labels[learn]))
        model_weight, words_weight = _fit_weights(parts, dev.labels).tolist()
    else:
        say(f"note: {len(dev)} dev rows are too few to weigh the parts of the stack; both get the same weight")
        model_weight = words_weight = 0.5
        held = _weighted(parts, np.array([0.5, 0.5]))
    found = {
        name: quality(dev.labels, probabilities(logits, multi), dev.space, metric)
        for name, logits in (("stack", held), (PART, raw), ("tfidf_lr", words))
    }
    shown = ", ".join(f"{name} {score:.4f}" for name, score in found.items())
    say(f"stack: weights {model_weight:.2f} (classifier) and {words_weight:.2f} (tfidf_lr); dev {metric}: {shown}")
    if found["stack"] < (best := max(found.values())):
        name = max(found, key=lambda key: found[key])
        say(f"note: on dev the stack ({found['stack']:.4f}) does not reach {name} alone ({best:.4f})")
    return FittedStack(
        stack=Stack(words=tfidf.words, linear=tfidf.model, model_weight=model_weight, words_weight=words_weight),
        alone=raw,
        held_out=held,
        dev=found,
    )


def _parts(model: Values, words: Values, multi: bool) -> NDArray[np.float64]:
    """Return both parts' log-probabilities (2, N, K), or their log odds for multi-label data."""
    both = np.stack([np.asarray(model, np.float64), np.asarray(words, np.float64)])
    return both if multi else np.asarray(log_softmax(both, axis=2))


def _weighted(parts: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.tensordot(weights, parts, 1).astype(np.float32)


def _fit_weights(parts: NDArray[np.float64], gold: NDArray[Any]) -> NDArray[np.float64]:
    """Return the two weights, at least 0, that minimise the log loss of these rows; the problem is convex."""
    multi = gold.ndim == 2
    target = gold.astype(np.float64) if multi else np.eye(parts.shape[2])[gold]

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = np.tensordot(weights, parts, 1)
        if multi:
            value = np.mean(np.logaddexp(0, logits) - target * logits)
            slope = (expit(logits) - target) / logits.size
        else:
            logs = log_softmax(logits, axis=1)
            value = -np.mean((target * logs).sum(axis=1))
            slope = (np.exp(logs) - target) / len(logits)
        return float(value), np.tensordot(parts, slope, 2)

    found = minimize(loss, np.array([0.5, 0.5]), jac=True, method="L-BFGS-B", bounds=[(0.0, MOST)] * 2)
    return np.asarray(found.x, np.float64) if found.x.any() else np.array([0.5, 0.5])


def _written(value: Any) -> Any:
    """Return a setting as JSON has it; a function of our own code is named."""
    if not callable(value):
        return sorted(value) if isinstance(value, (set, frozenset)) else value
    return {"function": f"{value.__module__}:{value.__qualname__}"}


def _read(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    module, _, name = value["function"].partition(":")
    if not module.startswith(_OWN_CODE):
        raise ValueError(f"{value['function']} is no function of finewise")
    return getattr(importlib.import_module(module), name)
