"""Whether a training step fits into memory, estimated before it starts, and what would fit if it does not.

A step takes, besides the weights: gradients (4 bytes a trained weight), Adam's two moments (8), the activations of the tokens
that are computed at a time, and the logits of a chunk with their gradient.
"""

from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedModel

from finewise.activations import saved_bytes
from finewise.device import available
from finewise.errors import InputError
from finewise.execution import Execution
from finewise.packing import LONG

SHARE = 0.9
"""Of the free memory that a step may take."""

TRIAL = 2 * LONG + 128
"""Tokens that are tried: the half of them is still long for the packed attention."""

LORA_RANK = 16

LOGITS = 1024
"""Tokens whose logits exist at a time, where no setting says so."""

FEWEST = 64
"""Tokens of the shortest window that is proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a training step of a model takes, and what there is.

    Attributes:
        device: Where.
        free: Bytes that are free there.
        weights: How many there are.
        trained: How many learn.
        embeddings: How many are in the token embeddings, which learn with LoRA too.
        logits: Bytes of a chunk's.
        layers: Of the model.
        hidden: Its width.
        linear: a of `activation_bytes`.
        square: b of it.
    """

    device: str
    free: int
    weights: int
    trained: int
    embeddings: int
    logits: int
    layers: int
    hidden: int
    linear: float
    square: float

    def activations(self, tokens: int, length: int, *, recomputed: bool) -> float:
        """Return the bytes of so many tokens' activations, in texts of a length; recomputed: of one layer and all inputs."""
        kept = tokens * (self.linear + self.square * length)
        return tokens * self.hidden * 4 * self.layers + kept / self.layers if recomputed else kept

    @property
    def learning(self) -> int:
        """Return the bytes of gradients and moments."""
        return 12 * self.trained

    @property
    def room(self) -> float:
        """Return the bytes that are left for activations."""
        return SHARE * self.free - self.learning - self.logits

    @property
    def spared(self) -> int:
        """Return the bytes that LoRA would spare: it trains a fiftieth of the other weights, and the embeddings."""
        return 12 * (self.trained - self.embeddings - self.weights // 50)

    def refusal(self, what: str, activations: float, advice: str) -> InputError:
        """Return the error that says what a step takes, what is free, and what to set."""
        needed = self.learning + self.logits + activations
        return InputError(
            f"a training step of {what} takes about {_size(needed)} besides the weights ({_size(self.learning)} for gradients "
            f"and moments), {_size(self.free)} are free on {self.device}; set {advice}"
        )


def step_of(model: PreTrainedModel, longest: int, *, logits_chunk: int, bf16: bool) -> Step:
    """Measure a model.

    Args:
        model: On its device, a causal language model or an encoder without head.
        longest: Tokens of the longest text.
        logits_chunk: Tokens whose logits exist at a time; 0 for an encoder.
        bf16: Whether the training computes in bf16.
    """
    text = model.config.get_text_config()
    linear, square = activation_bytes(model, longest, bf16=bf16)
    weights = list(model.parameters())
    return Step(
        device=str(model.device),
        free=available(str(model.device)),
        weights=sum(weight.numel() for weight in weights),
        trained=sum(weight.numel() for weight in weights if weight.requires_grad),
        embeddings=int(text.vocab_size) * int(text.hidden_size),
        logits=12 * min(logits_chunk, longest) * int(text.vocab_size),
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        linear=linear,
        square=square,
    )


def check_batch(
    model: PreTrainedModel,
    rows: int,
    longest: int,
    *,
    activation_checkpointing: bool,
    bf16: bool,
    logits_chunk: int = LOGITS,
    lora: bool = False,
) -> None:
    """Refuse a step that computes its rows all at once and does not fit.

    Args:
        model: On its device, a causal language model or an encoder without head; of one with LoRA the model inside.
        rows: Texts of a batch.
        longest: Tokens of the longest.
        activation_checkpointing: Whether only each layer's input is kept.
        bf16: Whether the training computes in bf16.
        logits_chunk: Tokens whose logits exist at a time; 0 for an encoder.
        lora: Whether only added matrices are trained already.

    Raises:
        InputError: Says what it would take, what is free, and what would fit.
    """
    step = step_of(model, longest, logits_chunk=logits_chunk, bf16=bf16)
    needed = step.activations(rows * longest, longest, recomputed=activation_checkpointing)
    if needed <= step.room:
        return
    ways = []
    if not activation_checkpointing and step.activations(rows * longest, longest, recomputed=True) <= step.room:
        ways.append("optim.activation_checkpointing=true")
    if logits_chunk and not lora and needed <= step.room + step.spared:
        ways.append(f"lora.rank={LORA_RANK}")
    fewer = int(step.room // (needed / rows))
    if 1 <= fewer < rows:
        ways.append(f"optim.batch_size={fewer} with more optim.gradient_accumulation_steps")
    fits = shorter(step, longest, recomputed=activation_checkpointing)
    if not ways and fits is not None:
        ways.append(f"optim.batch_size=1 and stretch.target={fits}" if rows > 1 else f"stretch.target={fits}")
    advice = " or ".join(ways) or "optim.activation_checkpointing=true and a shorter stretch.target"
    raise step.refusal(f"{rows} x {longest:,} tokens" if rows > 1 else f"{longest:,} tokens", needed, advice)


def shorter(step: Step, longest: int, *, recomputed: bool) -> int | None:
    """Return about how many tokens of one text would fit; None if it is not worth training with."""
    fits = longest
    while fits >= FEWEST and step.activations(fits, fits, recomputed=recomputed) > step.room:
        fits = fits * 9 // 10
    return fits if fits >= FEWEST else None


def check_memory(
    model: PreTrainedModel,
    longest: int,
    execution: Execution,
    *,
    activation_checkpointing: bool,
    logits_chunk: int,
    bf16: bool,
    lora: bool = False,
) -> tuple[Execution, str]:
    """Estimate what a step takes that computes its texts a few at a time.

    Args:
        model: A causal language model on its device; of one with LoRA the model inside.
        longest: Tokens of the longest piece, which is never divided.
        execution: How many tokens are to be computed at a time.
        activation_checkpointing: Whether only each layer's input is kept.
        logits_chunk: Tokens whose logits exist at a time.
        bf16: Whether the training computes in bf16.
        lora: Whether only added matrices are trained already.

    Returns:
        The execution, with fewer tokens at a time if no more fit, and a line that says what a step takes.

    Raises:
        InputError: Not even the longest piece fits. Says what it would take, what is free, and what would fit.
    """
    step = step_of(model, longest, logits_chunk=logits_chunk, bf16=bf16)
    if execution.mode == "packed":  # which keeps the scores of texts up to LONG tokens
        heads = model.config.get_text_config().num_attention_heads
        scores = heads * step.layers * min(longest, LONG) * (2 if bf16 else 4)
        step = replace(step, linear=step.linear + scores, square=0.0)
    needed = step.activations(longest, longest, recomputed=activation_checkpointing)
    if needed <= step.room:
        fits = int(step.room / step.activations(1, longest, recomputed=activation_checkpointing))
        tokens = max(longest, min(execution.tokens, fits))
        most = step.learning + step.logits + step.activations(tokens, longest, recomputed=activation_checkpointing)
        return replace(execution, tokens=min(execution.tokens, tokens)), (
            f"execution: {execution.mode}, {tokens:,} tokens at a time; a step takes up to {_size(most)} besides the weights; "
            f"{_size(step.free)} are free"
        )
    ways = []
    if not activation_checkpointing and step.activations(longest, longest, recomputed=True) <= step.room:
        ways.append("optim.activation_checkpointing=true")
    if not lora and needed <= step.room + step.spared:
        ways.append(f"lora.rank={LORA_RANK}")
    fits_in = shorter(step, longest, recomputed=activation_checkpointing)
    if fits_in is not None:
        ways.append(f"objective.window={fits_in}")
    advice = (
        " or ".join(ways)
        or f"optim.activation_checkpointing=true, lora.rank={LORA_RANK} and a shorter objective.window"
    )
    raise step.refusal(f"{longest:,} tokens", needed, advice)


def activation_bytes(model: PreTrainedModel, longest: int, *, bf16: bool) -> tuple[float, float]:
    """Return a and b, where the activations of one text of T tokens take a T + b T^2 bytes until the backward pass.

    Measured at two lengths: the tensors that a training forward pass saves are counted, each storage once, weights not at all.
    b is above 0 where attention keeps its scores (eager). The random generator is left as it was.

    Args:
        model: A causal language model, or an encoder without head.
        longest: Tokens of the longest text; no more are tried.
        bf16: Whether the training computes in bf16.
    """
    long = max(4, min(longest, TRIAL))
    half = long // 2
    whole, part = _saved(model, long, bf16=bf16), _saved(model, half, bf16=bf16)
    square = max(0.0, (whole / long - part / half) / (long - half))
    if square * long < 0.05 * whole / long:
        square = 0.0  # rounding, not scores
    return whole / long - square * long, square


def _saved(model: PreTrainedModel, tokens: int, *, bf16: bool) -> int:
    """Return the bytes that a forward pass of the transformer saves for its backward pass."""
    ids = torch.zeros(1, tokens, dtype=torch.int64, device=model.device)
    more = {"use_cache": False} if model.can_generate() else {}
    return saved_bytes(model, lambda: model.base_model(input_ids=ids, **more), bf16=bf16)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
