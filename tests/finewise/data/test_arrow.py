"""A column of texts on the disk reads like a list of them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from finewise.data.arrow import TextColumn

TEXTS = [f"text {n}" for n in range(25_000)]


@pytest.fixture
def column(tmp_path: Path) -> TextColumn:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    with pa.OSFile(str(tmp_path / "file"), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start, end in ((0, 7), (7, 7), (7, 20_000), (20_000, 25_000)):
            ids = pa.array([str(n) for n in range(start, end)])
            writer.write_batch(pa.record_batch([ids, pa.array(TEXTS[start:end], pa.string())], schema=schema))
    return TextColumn.of(tmp_path / "file", "text")


def test_it_reads_like_a_list(column: TextColumn) -> None:
    assert len(column) == 25_000
    assert list(column) == TEXTS
    assert column[0] == "text 0"
    assert column[-1] == column[int(np.int64(24_999))] == "text 24999"
    for part in (
        slice(5, 9),
        slice(19_990, 20_010),
        slice(24_998, 99_999),
        slice(10, 2),
        slice(0, 40, 13),
        slice(None),
    ):
        assert column[part] == TEXTS[part]
    with pytest.raises(IndexError):
        column[25_000]
    assert "text 3" in column


def test_rows_are_taken_in_any_order_and_more_than_once(column: TextColumn) -> None:
    rows = np.array([24_999, 3, 3, 19_999, 0, 20_000])
    assert column.take(rows).to_pylist() == [TEXTS[row] for row in rows]
    assert column.take(np.array([], dtype=np.int64)).to_pylist() == []
