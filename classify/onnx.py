"""ONNX export of a saved classifier, kept only if it says what the model says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from classify.saved import read_space
from finewise.errors import InputError

TOLERANCE = 1e-3
"""Logits may differ by this share of the largest one (at least 1): ONNX Runtime adds in another order."""

AXES = {0: "batch", 1: "length"}


class _Logits(nn.Module):
    """The model as a function from named tensors (B, T) to logits (B, K)."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.model(**dict(zip(self.names, tensors, strict=True))).logits
        return logits


def export_onnx(folder: Path, output: Path, texts: Sequence[str], *, trust_remote_code: bool = False) -> float:
    """Write a classifier as one .onnx file whose batch and length are free, and compare it on real texts.

    The inputs are the tokenizer's, the output is `logits`; apply decisions.json to it with `classify.decide`.

    Args:
        folder: A saved classifier.
        output: The file to write.
        texts: Texts to compare on, at least two, of different lengths.
        trust_remote_code: Run code that the folder brings.

    Returns:
        The largest difference of a logit.

    Raises:
        InputError: The packages are missing, the model cannot be exported, or the two disagree: then there is no file.
    """
    try:
        import onnx  # noqa: F401 - the exporter needs it
        import onnxruntime
    except ImportError as error:
        raise InputError(f"ONNX export needs the package {error.name}: pip install onnx onnxruntime") from None
    if len(texts) < 2:
        raise InputError(f"ONNX export compares on at least two texts; got {len(texts)}")
    read_space(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", trust_remote_code=trust_remote_code
    ).eval()
    # The prompt that a classifier was trained with stands in its configuration.
    prompt = getattr(model.config, "prompt", "")
    short, long = _shortest_and_longest(texts)
    first = dict(_tokens(tokenizer, [prompt + short, prompt + long]))
    part = output.with_name(output.name + ".part")
    try:
        _write(_Logits(model, list(first)).eval(), first, part)
        session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        farthest = 0.0
        for batch in (texts[:1], texts[1:]):
            tokens = _tokens(tokenizer, [prompt + text for text in batch])
            with torch.inference_mode():
                expected = model(**tokens).logits.numpy()
            taken = {each.name for each in session.get_inputs()}
            given = {name: value.numpy() for name, value in tokens.items() if name in taken}
            (found,) = session.run(["logits"], given)
            farthest = max(farthest, _difference(expected, found))
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
    return farthest


def _write(module: nn.Module, tokens: dict[str, Tensor], part: Path) -> None:
    """Export by tracing: the newer exporter would need the package onnxscript besides."""
    import warnings

    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, on shapes; the comparison is what counts
            torch.onnx.export(
                module,
                tuple(tokens.values()),
                str(part),
                input_names=list(tokens),
                output_names=["logits"],
                dynamic_axes={**dict.fromkeys(tokens, AXES), "logits": {0: "batch"}},
                opset_version=17,
                dynamo=False,
            )
    except Exception as error:  # whatever the exporter cannot do with a model
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"this model cannot be exported to ONNX: {line}") from error


def _difference(expected: Any, found: Any) -> float:
    """Return the largest difference of a logit.

    Raises:
        InputError: It is too large, or the most probable labels differ.
    """
    far = float(np.abs(expected - found).max())
    same = bool((expected.argmax(axis=1) == found.argmax(axis=1)).all())
    if far > TOLERANCE * max(1.0, float(np.abs(expected).max())) or not same:
        raise InputError(f"the ONNX file differs from the model by {far:.2g} in a logit; it was not kept")
    return far


def _tokens(tokenizer: Any, texts: Sequence[str]) -> Any:
    return tokenizer(list(texts), truncation=True, padding=True, return_tensors="pt")


def _shortest_and_longest(texts: Sequence[str]) -> tuple[str, str]:
    ordered = sorted(texts, key=len)
    return ordered[0], ordered[-1]
