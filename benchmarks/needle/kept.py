"""Answers that are kept as soon as they are there: a run that is killed reads none of them again."""

import json
import os
from collections.abc import Mapping
from pathlib import Path


class Kept:
    """A file of answers, a JSON line each, under the sha256 of all that decides them.

    Attributes:
        file: Where they are kept; None keeps them in memory alone.
        answers: By key.
    """

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.answers: dict[str, str] = {}
        if file is not None and file.exists():
            self._load(file)

    def add(self, answers: Mapping[str, str]) -> None:
        """Keep answers by key; on the disk when this returns."""
        self.answers.update(answers)
        if self.file is None:
            return
        lines = "".join(json.dumps({"key": key, "answer": answer}) + "\n" for key, answer in answers.items())
        with self.file.open("a", encoding="utf-8") as opened:
            opened.write(lines)
            opened.flush()
            os.fsync(opened.fileno())

    def _load(self, file: Path) -> None:
        """Read the file, and cut off a last line that a kill left unfinished."""
        content = file.read_bytes()
        whole = content.rfind(b"\n") + 1
        for line in content[:whole].splitlines():
            row = json.loads(line)
            self.answers[row["key"]] = row["answer"]
        if whole < len(content):
            os.truncate(file, whole)
