"""What is said of the end of a training run."""

from typing import Any

from benchmarks.table import label, number
from finewise.ending import ending, fell_from


def said(history: list[tuple[int, float]], **parts: Any) -> list[str]:
    best = max(history, key=lambda row: row[1])[0]
    selection: dict[str, Any] = {
        "metric": "f1_macro",
        "steps": history[-1][0],
        "planned": 100,
        "best_step": best,
        "stopped_early": history[-1][0] < 100,
        "patience": 3,
        "fell_from": fell_from(history, best),
        "history": [{"step": step, "score": score} for step, score in history],
    }
    return ending({"selection": selection, **parts}, label, number)


def test_stopped_by_patience_names_the_step_from_which_dev_fell() -> None:
    (sentence,) = said([(10, 0.4), (20, 0.62), (30, 0.62), (40, 0.6), (50, 0.61)])
    assert "ended at step 50 of 100" in sentence
    assert "selection.patience" in sentence
    assert "highest at step 20 (.620), lower from step 40 on, and .610 at the end" in sentence


def test_still_rising_asks_for_more_epochs() -> None:
    (sentence,) = said([(50, 0.4), (100, 0.5)])
    assert "after all of its 100 steps" in sentence
    assert "highest at the last step (.500, .400 at step 50): more optim.epochs" in sentence


def test_one_evaluation_does_not_show_a_trend() -> None:
    (sentence,) = said([(100, 0.5)])
    assert "selection.evaluations" in sentence
    assert "rising" in sentence


def test_equal_scores_are_no_fall() -> None:
    (sentence,) = said([(50, 0.5), (100, 0.5)])
    assert "reached .500 at step 50 and stayed there" in sentence


def test_the_curve_is_offered_only_where_it_was_not_drawn() -> None:
    assert said([(100, 0.5)], curve=None)[1].startswith("curve=true")
    assert len(said([(100, 0.5)], curve={"points": []})) == 1


def test_an_older_record_gives_no_sentence() -> None:
    assert ending({"selection": {"best": 0.5}}, label, number) == []
    assert ending({}, label, number) == []
