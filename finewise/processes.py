"""One run on several processes (torchrun, accelerate launch): which of them this is, and how the first tells the others.

The first process owns the run folder and everything that is written or printed; the others only train.
"""

import os
from typing import Any


def world() -> int:
    """Return how many processes train together, as the launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_rank() -> int:
    """Return this process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first() -> bool:
    """Tell whether this process writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


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


def leave() -> None:
    """Close the group once the training is over: the first process goes on alone."""
    if world() > 1:
        import torch.distributed

        if torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()
