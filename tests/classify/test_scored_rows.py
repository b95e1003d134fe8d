"""The rows that a run exports give its macro-F1 back, with scikit-learn alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from benchmarks.classification import evaluate, value
from classify.export import scored_rows
from finewise.data.exported import write_rows
from finewise.data.labels.rows import Labelled
from finewise.data.labels.space import LabelSpace


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_macro_f1_is_recomputed_from_the_exported_rows(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((80, 4)) < 0.3 if kind == "multi" else rng.integers(0, 3, 80)  # no row of class 3
    data = Labelled(
        name="pets", split="test", reference="pets.csv", unit="line", numbers=np.arange(2, 82),
        texts=[f"text {row}" for row in range(80)], labels=labels,
        space=LabelSpace(kind=kind, names=("a", "b", "c", "d")), groups=None, columns={},
        keys=np.arange(80, dtype=np.uint64), revision="r",
    )  # fmt: skip
    probabilities = rng.random((80, 4)) if kind == "multi" else rng.dirichlet(np.ones(4), 80)
    result = evaluate(data, "tuned", probabilities)
    file = write_rows(tmp_path, "test", scored_rows(data, [result]))
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    gold, predicted = [row["gold"] for row in rows], [row["tuned"]["predicted"] for row in rows]
    if kind == "multi":
        gold, predicted = ([[name in labels for name in "abcd"] for labels in side] for side in (gold, predicted))
    given = None if kind == "multi" else sorted(set(gold))
    assert f1_score(gold, predicted, average="macro", labels=given, zero_division=0) == pytest.approx(
        value(result, "f1_macro")
    )
    assert rows[0]["number"] == 2
