"""Several processes train one model: the loss sees the gathered batch."""

import subprocess
import sys
from pathlib import Path


def test_gathered_loss_and_gradient_equal_those_of_one_process(tiny_model: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("gathered.py")
    command = [sys.executable, str(script), str(tiny_model), str(tmp_path / "store")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
