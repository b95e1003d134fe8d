"""Several processes train one model: there is one run folder."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Pairs = Callable[[int], list[tuple[str, str]]]


def test_torchrun_makes_one_run(tiny_model: Path, tmp_path: Path, learnable_pairs: Pairs) -> None:
    with (tmp_path / "train.csv").open("w", newline="") as file:
        pairs = learnable_pairs(300)
        # Four rows share an anchor, so that batches that keep them apart are not all alike.
        pairs[:4] = [(pairs[0][0], positive) for _, positive in pairs[:4]]
        csv.writer(file).writerows([("anchor", "positive"), *pairs])
    command = [
        *(
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--standalone",
            "-m",
            "embed.train",
        ),
        *(
            f"data.train={tmp_path / 'train.csv'}",
            f"model={tiny_model}",
            f"run.root={tmp_path / 'runs'}",
            "run.device=cpu",
        ),
        *("optim.batch_size=16", "optim.learning_rate=3e-3", "optim.epochs=3"),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert ran.returncode == 0, ran.stderr
    (path,) = tmp_path.rglob("record.json")
    record = json.loads(path.read_text())
    assert record["selection"]["best"] > record["selection"]["untuned"]
    # 240 training rows on two processes of 16 rows: at least 8 gathered batches an epoch, and no row is lost.
    assert record["data"]["batches"]["left_out"] <= 1
    assert record["selection"]["steps"] * 2 == record["data"]["batches"]["batches"] * 3
    assert record["cost"]["texts"] >= 3 * 238 * 2
    assert (
        len(
            re.findall(
                r"tuned beats untuned|tuned and untuned (could|are not compared)|between tuned and untuned", ran.stdout
            )
        )
        == 1
    )
