"""One run on several processes (torchrun, accelerate launch): which of them this is, and how the first tells the others.

The first process owns the run folder and everything that is written or printed; the others only train.
"""

import os
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
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    from finewise.device import pick_device

    PartialState(cpu=pick_device(device).startswith("cpu"))  # "auto" too: without a GPU they talk by gloo
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
