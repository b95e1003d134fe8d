"""Folds keep groups together and classes spread."""

import numpy as np
import pytest

from benchmarks.text.folds import folds, quality


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_row_is_judged_once_and_groups_stay_together(kind, grouped, labelled, word_rows):
    rows = word_rows(90, kind)
    groups = np.arange(90) // 3 if grouped else None
    data = labelled(rows.texts, rows.labels, kind, groups=groups)
    cut = folds(data, 3, seed=1)
    assert sorted(np.concatenate([judge for _, judge in cut])) == list(range(90))
    for learn, judge in cut:
        assert len(learn) + len(judge) == 90
        assert not grouped or not set(groups[learn]) & set(groups[judge])
        if kind == "single":
            assert (np.bincount(data.labels[judge], minlength=4) > 0).all()


def test_too_few_rows_give_no_folds(labelled):
    assert folds(labelled(["a"] * 5, [0, 1, 2, 0, 1]), 3, seed=1) == []
    assert folds(labelled(["a"] * 60, [0, 1] * 30, groups=[0, 1] * 30), 3, seed=1) == []
    assert len(folds(labelled(["a"] * 8, range(8), names=list("abcdefgh")), 3, seed=1)) == 3


def test_lower_is_better_where_it_is(labelled):
    data = labelled(["a"] * 2, [0, 1], names=("x", "y"))
    sure, unsure = np.array([[0.9, 0.1], [0.1, 0.9]]), np.full((2, 2), 0.5)
    assert quality(data.labels, sure, data.space, "log_loss") > quality(data.labels, unsure, data.space, "log_loss")
    one = np.zeros(2, np.int64)
    assert quality(one, sure, data.space, "roc_auc") == -np.inf
