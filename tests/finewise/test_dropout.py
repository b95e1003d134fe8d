"""Dropout with cheap masks: the same distribution as torch's, the same mask in both passes, the generator's seed obeyed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from finewise.dropout import FastDropout, draw, scale, speed_up


def fast(p: float) -> nn.Module:
    layer = nn.Sequential(nn.Dropout(p))
    speed_up(layer)
    assert type(layer[0]) is FastDropout
    return layer.train()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_and_the_scale_of_what_is_kept(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 400_000
    found = fast(p)(torch.ones(count, dtype=dtype))
    dropped = float((found == 0).float().mean())
    assert abs(dropped - p) < 5 * (p * (1 - p) / count) ** 0.5
    kept = found[found != 0]
    assert (kept == kept[0]).all()
    assert float(kept[0]) == pytest.approx(1 / (1 - p), rel=1e-2 if dtype is not torch.float32 else 1e-4)


@given(st.floats(0.001, 0.95))
def test_expectation_is_exact(p: float) -> None:
    level = round(p * 65_536)
    assert scale(p) * (65_536 - level) / 65_536 == pytest.approx(1.0)


def test_masks_of_neighbours_are_independent() -> None:
    torch.manual_seed(0)
    mask = (draw(torch.Size([1_000_000]), 0.5) != 0).double() - 0.5
    for shift in (1, 2, 3, 4, 5, 64):
        assert abs(float((mask[shift:] * mask[:-shift]).mean()) / 0.25) < 0.006


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 5, 7), (0, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert draw(torch.Size(shape), 0.3).shape == shape
    assert fast(0.3)(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_is_dropped_where_the_value_was(dtype: torch.dtype) -> None:
    values = torch.ones(7, 100, dtype=dtype).T.requires_grad_()  # not contiguous
    found = fast(0.4)(values)
    found.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, found.detach())


def test_the_seed_decides() -> None:
    layer, values = fast(0.2), torch.ones(1000)
    torch.manual_seed(5)
    first = layer(values)
    assert not torch.equal(layer(values), first)
    torch.manual_seed(5)
    assert torch.equal(layer(values), first)


def test_nothing_is_dropped_in_evaluation_or_at_zero() -> None:
    values = torch.randn(50)
    assert torch.equal(fast(0.5).eval()(values), values)
    assert torch.equal(fast(0.0)(values), values)
    assert torch.equal(fast(1.0)(values), torch.zeros(50))
