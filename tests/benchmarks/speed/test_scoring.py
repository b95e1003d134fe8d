"""The bench of the scores runs, and finds that both sides compute the same."""

import json

from benchmarks.speed import scoring


def test_both_sides_agree(tmp_path, capsys):
    path = tmp_path / "found.json"
    small = ["--queries", "30", "--documents", "1500", "--dimensions", "32", "--rankings", "20", "--depth", "50"]
    assert scoring.main([*small, "--rounds", "1", "--device", "cpu", "--json", str(path)]) == 0
    benches = json.loads(path.read_text())["benches"]
    assert [bench["ok"] for bench in benches] == [True, True, True]
    assert {side["name"] for bench in benches[:2] for side in bench["sides"]} == {"evaluator", "ours", "ours-ranking"}
    assert "agrees:  map@100" in capsys.readouterr().out


def test_a_corpus_too_small_for_topics_is_refused(capsys):
    assert scoring.main(["--documents", "10"]) == 2
    assert "--documents must be at least 1000; got 10" in capsys.readouterr().err
