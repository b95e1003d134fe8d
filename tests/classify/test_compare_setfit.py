"""The comparison with SetFit: its table, and what is kept of finished runs. SetFit itself is no part of the tests."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from classify.compare_setfit import FILE, key_of, main, markdown, parser, summary


def cell(system: str, seed: int, score: float) -> dict[str, object]:
    return {
        "system": system,
        "shots": 8,
        "seed": seed,
        "f1_macro": score,
        "seconds": 2.0 * seed,
        "processor_seconds": 3.0 * seed,
        "peak_memory_bytes": 10**9,
        "texts": 320,
    }


def test_the_interval_is_students_and_the_gain_is_paired() -> None:
    ours, theirs = [0.7, 0.75, 0.71], [0.6, 0.66, 0.62]
    cells = [cell("few_shot", seed, score) for seed, score in enumerate(ours, 1)]
    cells += [cell("setfit", seed, score) for seed, score in enumerate(theirs, 1)]
    own, other = summary(cells)
    assert (own["system"], other["system"], other["gain"]) == ("few_shot", "setfit", None)
    low, high = stats.ttest_1samp(ours, 0).confidence_interval(0.95)
    np.testing.assert_allclose(own["f1_macro"], [np.mean(ours), low, high])
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    np.testing.assert_allclose(own["gain"], [np.mean(ours) - np.mean(theirs), low, high])
    assert (own["seconds"], own["processor_seconds"]) == (4.0, 6.0)
    assert "| 8 | few_shot | 0.720 [0.654, 0.786] | +0.093 [" in markdown([own, other])


def test_finished_runs_are_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--folder", str(tmp_path), "--shots", "8", "--seeds", "1", "--systems", "few_shot"]
    key = key_of(parser().parse_args(arguments), "few_shot")
    kept = {"key": key, **cell("few_shot", 1, 0.5)}
    (tmp_path / FILE.format(system="few_shot", shots=8, seed=1)).write_text(json.dumps(kept))
    assert main([*arguments, "--json", str(tmp_path / "all.json")]) == 0
    assert "| 8 | few_shot | 0.500 |" in capsys.readouterr().out
    assert json.loads((tmp_path / "all.json").read_text())["summary"][0]["f1_macro"] == [0.5]


def test_other_settings_are_other_runs() -> None:
    one, other = parser().parse_args([]), parser().parse_args(["--limit", "128"])
    assert key_of(one, "setfit") != key_of(other, "setfit")
