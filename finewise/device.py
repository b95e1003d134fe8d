"""Which device, which precision, and what a record says of them."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import torch

from finewise import processes
from finewise.errors import InputError
from finewise.run import cores, cpu_name


def quiet() -> None:
    """Turn off the progress bars that the libraries show for loading and saving: ours tell what matters."""
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    datasets.disable_progress_bars()


def pick_device(name: str) -> str:
    """Return the device's name for torch.

    Args:
        name: "auto" takes CUDA, then MPS, then the CPU. Of several processes each takes the GPU of its local rank.

    Raises:
        InputError: The device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                f"run.device=cuda: torch {torch.__version__} sees no CUDA device here; set run.device=auto"
            )
        return f"cuda:{processes.local_rank()}" if processes.world() > 1 else "cuda"
    if name == "mps" and not torch.backends.mps.is_available():
        raise InputError("run.device=mps: torch sees no MPS device here; set run.device=auto")
    return name


def fast_bf16(device: str) -> bool:
    """Tell whether the device multiplies bf16 matrices faster than fp32 ones."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(torch.device(device))[0] >= 8
    if kind == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def use_bf16(precision: str, device: str) -> bool:
    """Tell whether to compute in bf16 under autocast.

    Args:
        precision: `run.precision`: "auto", "bf16" or "fp32".
        device: As pick_device returns it.
    """
    return precision == "bf16" or (precision == "auto" and fast_bf16(device))


def autocast(bf16: bool, device: str) -> AbstractContextManager[Any]:
    """Return the context in which matrices are multiplied in bf16, or one that changes nothing."""
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16) if bf16 else nullcontext()


def describe(device: str, bf16: bool) -> dict[str, Any]:
    """Return what a record says of the device."""
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(torch.device(device)) if kind == "cuda" else cpu_name()
    return {
        "type": kind,
        "name": name,
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "precision": "bf16 autocast" if bf16 else "fp32",
    }


def peak_memory(device: str) -> int:
    """Return the peak memory in bytes: of the CUDA device, else of this process."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(torch.device(device)))
    try:
        import resource
    except ImportError:  # Windows, whose peak psutil knows
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # in bytes on macOS alone


def available(device: str) -> int:
    """Return the bytes that can still be had on the device, in a container within its limit."""
    kind = torch.device(device)
    if kind.type == "cuda":
        free, _ = torch.cuda.mem_get_info(kind)
        return int(free) + torch.cuda.memory_reserved(kind) - torch.cuda.memory_allocated(kind)
    return min(int(psutil.virtual_memory().available), _container())


def _container(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes left within the control group's limit; a huge number without one."""
    try:
        most = int((root / "memory.max").read_text(encoding="utf-8"))
        used = int((root / "memory.current").read_text(encoding="utf-8"))
        cached = {
            key: int(value)
            for key, value in (line.split() for line in (root / "memory.stat").read_text(encoding="utf-8").splitlines())
        }.get("inactive_file", 0)
    except (OSError, ValueError):
        return 1 << 62
    return max(0, most - used + cached)
