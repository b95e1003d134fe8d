"""Several processes train one model: there is one run folder."""

import csv
import json
import os
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
        ),
        *("optim.batch_size=16", "optim.learning_rate=3e-3", "optim.epochs=3"),
    ]
    # No run.device: processes find out by themselves that there is no GPU.
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment)
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


CLOCKS = """
import os, sys
from pathlib import Path
from transformers import TrainerControl, TrainerState
from finewise import fit, processes

processes.share(None)
rank, found = int(os.environ["RANK"]), []
for late in (0, 1):
    callback, control, saved = fit.Checkpoints(fit.Seen(), 1), TrainerControl(), []
    callback.saved_at -= 1e6 if rank == late else 0
    for step in range(1, 2 * fit.AGREE_EVERY_STEPS + 1):
        control.should_save = False
        callback.on_step_end(None, TrainerState(global_step=step), control)
        saved += [step] if control.should_save else []
    found.append(saved)
Path(sys.argv[1], str(rank)).write_text(str(found))
processes.leave()
"""


def test_the_first_process_decides_for_all_when_to_save(tmp_path: Path) -> None:
    (tmp_path / "clocks.py").write_text(CLOCKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [*command, str(tmp_path / "clocks.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    # In the first case it is the first process's clock that says so, in the second the other's, which is not asked.
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["[[10, 20], []]"] * 2
