"""Peak memory of a stretch of work: of the CUDA device, else of this process where Linux tells it."""

import ctypes
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Call start() before the work and stop() after it."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.held: int | None = None

    def start(self) -> None:
        """Forget earlier peaks and note what is held now."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.held = torch.cuda.memory_allocated(self.device)
        else:
            self.held = _resident("VmRSS") if _reset() else None

    def stop(self) -> int | None:
        """Return the peak since start() in bytes, above what was held then; None where the system does not tell."""
        if self.held is None:
            return None
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device)) - self.held
        peak = _resident("VmHWM")
        return None if peak is None else peak - self.held


def give_back() -> None:
    """Have the C library return freed memory, which else would hide a part of the growth that is measured next."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # not glibc


def _reset() -> bool:
    """Reset the peak of resident memory (proc(5): 5 in clear_refs); False where that cannot be done."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _resident(key: str) -> int | None:
    """Return VmRSS (held now) or VmHWM (the peak) in bytes."""
    try:
        for line in _STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
