"""The tasks by name."""

from collections.abc import Mapping

from benchmarks.needle.sketch import Task
from benchmarks.needle.tasks.niah import Niah
from benchmarks.needle.tasks.nolima import NoLiMa
from benchmarks.needle.tasks.questions import Questions
from benchmarks.needle.tasks.tiny import TinyTask
from benchmarks.needle.tasks.tracing import Tracing
from benchmarks.needle.tasks.words import CommonWords, FrequentWords

TASKS: Mapping[str, Task] = {
    "niah_single_1": Niah(haystack="noise"),
    "niah_single_2": Niah(),
    "niah_single_3": Niah(values="uuids"),
    "niah_multikey_1": Niah(needles=4),
    "niah_multikey_2": Niah(haystack="needles"),
    "niah_multikey_3": Niah(haystack="needles", keys="uuids", values="uuids"),
    "niah_multivalue": Niah(per_key=4),
    "niah_multiquery": Niah(needles=4, asked=4),
    "vt": Tracing(),
    "cwe": CommonWords(),
    "fwe": FrequentWords(),
    "qa_1": Questions(),
    "qa_2": Questions(hops=2),
    "nolima": NoLiMa(),
    "tiny": TinyTask(),
}
"""All of `benchmarks.needle.names.TASKS` but ruler, which stands for its thirteen."""
