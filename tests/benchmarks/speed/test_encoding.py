from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("small_products")
Found = Callable[[], dict[str, Any]]


def test_encoding_scores_the_embeddings_of_every_side(
    tiny_model: Path, tmp_path: Path, found: Found, checked: Any, corpus: Path
) -> None:
    from benchmarks.speed.encoding import main

    path = tmp_path / "found.json"
    options = ["--model", str(tiny_model), "--data", str(corpus), "--rounds", "2", "--device", "cpu"]
    assert main([*options, "--sides", "ours-fp32", "--json", str(path)]) == 0
    content = found()
    checked(content, ["plain-fp32", "ours-fp32"], 2)
    scores = content["benches"][0]["facts"]["ndcg@10"]
    assert 0 < scores["plain-fp32"] == pytest.approx(scores["ours-fp32"])


def test_encoding_a_part_of_the_corpus_scores_nothing(
    tiny_model: Path, tmp_path: Path, found: Found, corpus: Path
) -> None:
    from benchmarks.speed.encoding import main

    path = tmp_path / "found.json"
    options = ["--model", str(tiny_model), "--data", str(corpus), "--rounds", "1", "--device", "cpu", "--whole"]
    assert main([*options, "--documents", "7", "--sides", "ours-fp32", "--json", str(path)]) == 0
    (bench,) = found()["benches"]
    assert bench["facts"]["ndcg@10"] == {}
    assert [each["what"] for each in bench["agreements"]] == ["least cosine of 7 documents, fp32"]


def test_embeddings_that_differ_fail(tiny_model: Path, corpus: Path) -> None:
    import numpy as np

    from benchmarks.retrieval import judged
    from benchmarks.speed.encoding import Encoding, prove
    from benchmarks.speed.models import library_model
    from finewise.data.sources import read_retrieval

    task = judged(read_retrieval(str(corpus), split="test", name="corpus"))
    model = library_model(str(tiny_model), "cpu", None)
    texts = list(task.corpus)
    sides = [
        Encoding(name, model, "fp32", texts, [3] * len(texts), None, parts=1, device="cpu")
        for name in ("plain-fp32", "ours-fp32")
    ]
    for side in sides:
        side.run(1)
    agreements, _ = prove(sides, task, whole=True)
    assert all(each.ok for each in agreements)
    sides[1].embeddings[0] = np.flip(sides[1].embeddings[0])
    agreements, _ = prove(sides, task, whole=False)
    assert not any(each.ok for each in agreements)
