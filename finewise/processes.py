"""One run on several processes (torchrun, accelerate launch): which of them this is, and how the first tells the others.

The first process owns the run folder and everything that is written or printed; the others only train.
"""

import os
import sys
from typing import Any

from finewise.errors import InputError


def world() -> int:
    """Return how many processes train together, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return this process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first() -> bool:
    """Tell whether this process writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def refuse_several(program: str) -> None:
    """Refuse to run a program that does not divide its work as several processes, which would all write the same files.

    Args:
        program: As it is called, such as "longctx.train".

    Raises:
        InputError: A launcher started more than one process; in the others than the first, the process ends in silence.
    """
    if world() > 1:
        if not is_first():
            raise SystemExit(2)
        raise InputError(
            f"{program} runs as one process, and WORLD_SIZE is {world()}: start it with python -m {program}, without torchrun "
            "or accelerate launch"
        )


def share(value: Any, device: str = "auto") -> Any:
    """Return the first process's value in all of them.

    Args:
        value: What the first process has; the others' values are not looked at.
        device: `run.device`; decides by which means the processes talk.
    """
    if world() == 1:
        return value
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    # Without a GPU, and not told that it is to be the CPU, accelerate makes no group at all.
    PartialState(cpu=device == "cpu" or (device == "auto" and not torch.cuda.is_available()))
    content = [value]
    broadcast_object_list(content)
    return content[0]


def yield_cores(cores: int) -> str:
    """Let waiting threads sleep instead of spin where other processes are busy on our cores; return a note, or "".

    Threads that spin while they wait take the cores from the very threads that they wait for. How they wait changes no
    number, and is read once, when torch is loaded: later calls find nothing to do. What the user set stays.

    Args:
        cores: That this process may use.
    """
    import psutil

    if (
        "torch" in sys.modules
        or cores < 2
        or "OMP_WAIT_POLICY" in os.environ
        or os.environ.get("OMP_NUM_THREADS") == "1"
    ):
        return ""
    which = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
    each = psutil.cpu_percent(interval=0.1, percpu=True)
    shares = [each[core] for core in which if core < len(each)] if which else each
    busy = sum(shares) / 100
    # This process waits meanwhile: what is measured are the others. Less than half a core is noise.
    if busy < 0.5:
        return ""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    free = max(1, round(cores - busy))
    return (
        f"note: other processes keep {busy:.1f} of {cores} cores busy: it takes longer, and waiting threads sleep instead of "
        f"spin; OMP_NUM_THREADS={free} takes the free ones alone"
    )


def leave() -> None:
    """Close the group once the training is over: the first process goes on alone."""
    if world() > 1:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
