"""Logistic regression for every kind of labels.

Shapes: N rows, D features, K classes or labels.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

IMPOSSIBLE = -30.0
"""Intercept of a class without training rows. The logits of the others sum to 0, so its probability is below e**-30."""


class Logistic:
    """Multinomial logistic regression with an L2 penalty; for multi-label data one of two classes for each label.

    Attributes:
        coef: (K, D).
        intercept: (K,).
        converged: Whether the solver reached its tolerance.
    """

    def __init__(self, classes: int, *, solver: str = "lbfgs", tol: float = 1e-4, max_iter: int = 500) -> None:
        """Make one that has learnt nothing.

        Args:
            classes: K.
            solver: As in scikit-learn.
            tol: As in scikit-learn: largest component of the gradient of the mean loss.
            max_iter: Most steps of the solver.
        """
        self.classes = classes
        self.settings = {"solver": solver, "tol": tol, "max_iter": max_iter}
        self.multi = False
        self.converged = True
        self.coef: NDArray[Any] = np.zeros((classes, 0))
        self.intercept: NDArray[np.float64] = np.zeros(classes)
        self._together: NDArray[np.float64] | None = None
        self._solved: dict[int, LogisticRegression] = {}

    def fit(self, features: Any, gold: NDArray[Any], C: float, *, balanced: bool) -> Logistic:  # noqa: N803 - its name
        """Learn; a further fit on the same rows starts from the last one's weights.

        Args:
            features: (N, D), dense or sparse.
            gold: (N,) int, or (N, K) bool for multi-label.
            C: Inverse strength of the penalty.
            balanced: Weigh a row by the inverse of its class's frequency.
        """
        self.multi = gold.ndim == 2
        self.coef = np.zeros((self.classes, features.shape[1]), features.dtype)
        self.intercept = np.full(self.classes, IMPOSSIBLE)
        self.converged = True
        if self.multi:
            share = gold.mean(axis=0)
            self.intercept[share == 1] = -IMPOSSIBLE
            if isinstance(features, np.ndarray):
                self._solve_together(features, gold, np.flatnonzero((share > 0) & (share < 1)), C, balanced)
                return self
            for label in np.flatnonzero((share > 0) & (share < 1)).tolist():
                solved = self._solve(label, features, gold[:, label], C, balanced)
                self.coef[label], self.intercept[label] = solved.coef_[0], solved.intercept_[0]
            return self
        present = np.unique(gold)
        if len(present) == 1:
            self.intercept[present] = 0
            return self
        solved = self._solve(0, features, gold, C, balanced)
        if len(present) == 2:  # scikit-learn keeps the difference of the two alone
            half = np.array([-0.5, 0.5])
            self.coef[present] = half[:, None] * solved.coef_
            self.intercept[present] = half * solved.intercept_
        else:
            self.coef[present], self.intercept[present] = solved.coef_, solved.intercept_
        return self

    def predict_proba(self, features: Any) -> NDArray[np.float64]:
        """Return the probabilities (N, K) for features (N, D)."""
        return probabilities(features @ self.coef.T + self.intercept, self.multi)

    def _solve_together(
        self,
        features: NDArray[Any],
        gold: NDArray[np.bool_],
        labels: NDArray[np.intp],
        C: float,  # noqa: N803
        balanced: bool,
    ) -> None:
        """Minimise the sum of the labels' objectives, C sum_i w_i log(1 + exp(-y_i z_i)) + |coef|^2 / 2 each, in one descent.

        They share no weight, so the minimum is that of each alone; dense features are read once for all labels and not once for
        each, which for hundreds of labels is tens of times as fast.
        """
        rows, size = features.shape
        target = gold[:, labels].astype(features.dtype)
        share = target.mean(axis=0, dtype=np.float64)
        weigh = np.where(target > 0, 0.5 / share, 0.5 / (1 - share)).astype(features.dtype) if balanced else 1.0

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            weights = flat.reshape(size + 1, len(labels))
            logits = features @ weights[:-1].astype(features.dtype) + weights[-1].astype(features.dtype)
            loss = np.sum(weigh * (np.logaddexp(0, logits) - target * logits), dtype=np.float64)
            slope = weigh * (expit(logits) - target)
            gradient = np.vstack([features.T @ slope, slope.sum(axis=0)]).astype(np.float64) / rows
            gradient[:-1] += weights[:-1] / (C * rows)
            return loss / rows + (weights[:-1] ** 2).sum() / (2 * C * rows), gradient.ravel()

        if self._together is None or self._together.shape != (size + 1, len(labels)):
            self._together = np.vstack([np.zeros((size, len(labels))), np.log(share / (1 - share))])
        found = minimize(
            objective,
            self._together.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.settings["max_iter"], "gtol": self.settings["tol"], "ftol": 0.0},
        )
        self.converged = bool(found.success)
        self._together = found.x.reshape(size + 1, len(labels))
        self.coef[labels], self.intercept[labels] = self._together[:-1].T, self._together[-1]

    def _solve(self, key: int, features: Any, gold: NDArray[Any], C: float, balanced: bool) -> LogisticRegression:  # noqa: N803
        solver = self._solved.setdefault(key, LogisticRegression(warm_start=True, **self.settings))
        solver.set_params(C=C, class_weight="balanced" if balanced else None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told by `converged`
            solver.fit(features, gold)
        self.converged &= bool(solver.n_iter_.max() < self.settings["max_iter"])
        return solver


def probabilities(logits: NDArray[Any], multi: bool) -> NDArray[np.float64]:
    """Return softmax over the classes, or for multi-label data the logistic function, of logits (N, K)."""
    return np.asarray(expit(logits) if multi else softmax(logits, axis=1), np.float64)
