"""The names of tasks and haystacks. Imports nothing heavy: the settings are checked with it."""

from finewise.names import unknown

RULER = (
    "niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multikey_2", "niah_multikey_3",
    "niah_multivalue", "niah_multiquery", "vt", "cwe", "fwe", "qa_1", "qa_2",
)  # fmt: skip
"""RULER's thirteen tasks (Hsieh et al. 2024, arXiv 2404.06654, appendix B)."""

TASKS = (*RULER, "nolima", "ruler", "tiny")
"""What can stand in `needle.tasks`; `tiny` is the made-up language of the models that are trained on the spot."""

TEXTS = ("noise", "novels", "bible")
HAYSTACKS = (*TEXTS, "needles")


def check_task(name: str) -> None:
    """Refuse a task that is not there.

    Raises:
        ValueError: Names the nearest one.
    """
    if name not in TASKS:
        raise ValueError(unknown("needle.tasks", name, TASKS))


def expanded(tasks: list[str]) -> list[str]:
    """Return the tasks with `ruler` written out, each once."""
    return list(dict.fromkeys(one for name in tasks for one in (RULER if name == "ruler" else (name,))))
