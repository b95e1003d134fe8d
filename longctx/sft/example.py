"""Chats with long inputs, to try objective=sft with: numbered descriptions of Debian packages, and which one is asked for.

The real text is that of the needle task qa_1 (the built-in set debian-sections); the answer is a package's name, which the
prompt holds. No package is asked for twice.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.needle.tasks.questions import Questions, packages

DOCUMENTS = (4, 8)
"""Descriptions in a prompt, besides the one that is asked for; one has about 50 tokens."""


def chats(seed: int) -> Iterator[dict[str, list[dict[str, str]]]]:
    """Yield rows {"messages": user and assistant} without end; beyond the number of packages it would wait for ever."""
    rng = np.random.default_rng(seed)
    asked: set[tuple[str, ...]] = set()
    while True:
        sketch = Questions().draw(rng, None, None, 0)
        documents = int(rng.choice(DOCUMENTS))
        assert sketch.items is not None
        if sketch.answers in asked:
            continue
        asked.add(sketch.answers)
        prompt = (
            f"{sketch.intro}\n\n{sketch.joint.join(sketch.items(documents))}\n\n{sketch.question} Say its name alone."
        )
        yield {
            "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": sketch.answers[0]}],
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m longctx.sft.example", description="Write chats with long inputs, to try objective=sft with."
    )
    parser.add_argument("file", type=Path, help="the .jsonl file that is written")
    parser.add_argument("--rows", type=int, default=40, help="chats (default 40)")
    parser.add_argument("--seed", type=int, default=42, help="draws them (default 42)")
    options = parser.parse_args(arguments)
    if not 1 <= options.rows <= (most := len(packages()) // 2):
        parser.error(f"--rows must be from 1 to {most}; got {options.rows}")
    rows = islice(chats(options.seed), options.rows)
    options.file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
