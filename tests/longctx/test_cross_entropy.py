"""The loss in parts is the plain loss, with its gradients, in families that scale or cap their logits; it saves memory."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from finewise.errors import InputError
from longctx.cross_entropy import IGNORED, gives_nll, logits_of, nll_sum

Build = Callable[..., PreTrainedModel]
FAMILIES = ("llama", "llama-tied", "qwen2", "qwen3", "gpt_neox", "granite", "gemma2", "cohere2")


def batch(seed: int = 0, length: int = 23) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 60, (2, length), generator=generator)
    targets = functional.pad(ids[:, 1:], (0, 1), value=IGNORED)
    targets[0, 3:7] = IGNORED
    return ids, targets


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_loss_and_gradients_are_the_plain_ones(tiny_causal: Build, family: str, chunk: int) -> None:
    model = tiny_causal(family)
    ids, targets = batch()
    plain = functional.cross_entropy(
        model(input_ids=ids, use_cache=False).logits.float().flatten(0, 1), targets.flatten(), reduction="sum"
    )
    plain.backward()  # type: ignore[no-untyped-call]
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    with gives_nll(model, chunk):
        found = model(input_ids=ids, use_cache=False, targets=targets).loss
        found.backward()
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    for name, weight in model.named_parameters():
        if name in expected:
            scale = float(expected[name].abs().max())
            assert weight.grad is not None
            torch.testing.assert_close(weight.grad, expected[name], rtol=1e-5, atol=1e-5 * max(scale, 1), msg=name)


def test_without_targets_the_model_is_what_it_was(tiny_causal: Build) -> None:
    model = tiny_causal()
    ids, _ = batch()
    before = model(input_ids=ids, labels=ids)
    with gives_nll(model, 5):
        inside = model(input_ids=ids, labels=ids)
        written = model.generate(
            ids[:, :4], max_new_tokens=3, do_sample=False, attention_mask=torch.ones_like(ids[:, :4])
        )  # type: ignore[operator]
    assert torch.equal(before.loss, inside.loss)
    assert torch.equal(before.logits, inside.logits)
    assert written.shape == (2, 7)
    assert "forward" not in model.__dict__


def test_a_batch_without_targets_has_a_loss_of_zero_and_a_gradient(tiny_causal: Build) -> None:
    model = tiny_causal()
    ids, targets = batch()
    with gives_nll(model, 5):
        loss = model(input_ids=ids, targets=torch.full_like(targets, IGNORED)).loss
        loss.backward()
    assert float(loss.detach()) == 0


def saved_bytes(compute: Callable[[], Tensor], model: PreTrainedModel) -> int:
    """The bytes that are kept for the backward pass, and the most that one tensor takes."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    found: dict[int, int] = {}
    alive = []

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        compute()
    return sum(found.values())


def test_the_logits_are_not_kept(tiny_causal: Build) -> None:
    """With the plain loss what is kept grows by T * V numbers; in parts by T * D alone."""
    model = tiny_causal()
    hidden = torch.randn(1, 512, 32, requires_grad=True)
    targets = torch.randint(0, 60, (1, 512))
    plain = saved_bytes(
        lambda: functional.cross_entropy(logits_of(model, hidden)[0].float(), targets[0], reduction="sum"), model
    )
    in_parts = saved_bytes(lambda: nll_sum(model, hidden, targets, 64), model)
    assert plain >= 512 * 60 * 4
    assert in_parts <= 512 * (32 * 4 * 2 + 64)


def test_bf16_computes_the_loss_in_fp32(tiny_causal: Build) -> None:
    model = tiny_causal()
    ids, targets = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16), gives_nll(model, 5):
        lower = model(input_ids=ids, targets=targets).loss
    with gives_nll(model, 5):
        whole = model(input_ids=ids, targets=targets).loss
    assert lower.dtype is torch.float32
    assert float(((lower - whole).abs() / whole).detach()) < 0.02


def test_a_model_whose_logits_need_more_than_hidden_states_is_refused(tiny_causal: Build) -> None:
    model = tiny_causal()
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    assert head is not None
    calls = iter(range(100))
    head.register_forward_hook(lambda module, inputs, output: output + next(calls))
    with pytest.raises(InputError, match=r"model type 'llama'.*take another model"), gives_nll(model, 5):
        pass
