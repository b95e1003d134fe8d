"""What the benches read, small enough for a test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Pairs = Callable[[int, int], list[tuple[str, str]]]


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak is measured on small matrices: quickly, and wrongly."""
    from benchmarks.speed import roofline

    monkeypatch.setitem(roofline.SIZES, "cpu", (64,))


@pytest.fixture
def labelled(tmp_path: Path, learnable_pairs: Pairs) -> Path:
    """Texts of very different lengths with three labels, as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [" ".join([text] * (1 + row % 7)) for row, (_, text) in enumerate(learnable_pairs(60, 0))]
    path = tmp_path / "labelled.parquet"
    pq.write_table(pa.table({"text": texts, "label": [("red", "green", "blue")[row % 3] for row in range(60)]}), path)
    return path


@pytest.fixture
def found(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Reads what a bench wrote to `tmp_path / "found.json"`."""

    def read() -> dict[str, Any]:
        content: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
        return content

    return read


@pytest.fixture
def corpus(tmp_path: Path, learnable_pairs: Pairs) -> Path:
    """A BEIR folder whose queries share words with their documents."""
    folder = tmp_path / "corpus"
    (folder / "qrels").mkdir(parents=True)
    pairs = learnable_pairs(30, 1)
    for stem, texts in (("queries", [query for query, _ in pairs]), ("corpus", [text for _, text in pairs])):
        rows = [json.dumps({"_id": f"{stem[0]}{row}", "text": text}) for row, text in enumerate(texts)]
        (folder / f"{stem}.jsonl").write_text("\n".join(rows) + "\n")
    lines = [f"q{row}\tc{row}\t1" for row in range(30)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return folder


@pytest.fixture
def checked() -> Callable[..., None]:
    """Checks that a bench found what every bench must find."""

    def check(content: dict[str, Any], sides: list[str], rounds: int) -> None:
        found = content["benches"][0]
        assert [side["name"] for side in found["sides"]] == sides
        for side in found["sides"]:
            assert len(side["seconds"]) == rounds
            assert min(side["seconds"]) > 0
            assert side["tokens_per_second"] > 0
            assert side["share_of_peak"]["fp32"] > 0
        assert found["ok"]

    return check
