"""LoRA with norms and embeddings: what learns, and that the merged model is a plain one whose tied weights are tied."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from longctx.config import LoraConfig
from longctx.lora import merged, norms_and_embeddings, with_lora

Build = Callable[..., PreTrainedModel]
IDS = torch.arange(4, 24)[None]


@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen2", "qwen3", "gpt_neox"])
def test_merged_it_is_a_plain_model_with_the_same_logits(tiny_causal: Build, family: str, tmp_path: Path) -> None:
    model = tiny_causal(family)
    tied = bool(model.config.tie_word_embeddings)
    names = sorted(model.state_dict())
    lora = with_lora(model, LoraConfig(rank=4))
    assert torch.allclose(lora(input_ids=IDS).logits, tiny_causal(family)(input_ids=IDS).logits, atol=1e-5)
    optimizer = torch.optim.SGD([weight for weight in lora.parameters() if weight.requires_grad], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        lora(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    lora.eval()
    with torch.no_grad():
        expected = lora(input_ids=IDS).logits
    plain = merged(lora)
    assert sorted(plain.state_dict()) == names
    with torch.no_grad():
        torch.testing.assert_close(plain(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)
    head, embeddings = plain.get_output_embeddings(), plain.get_input_embeddings()  # type: ignore[no-untyped-call]
    assert head is not None
    assert (head.weight is embeddings.weight) == tied
    assert (head.in_features, head.out_features) == (32, 60)
    plain.save_pretrained(str(tmp_path / "saved"))
    again = AutoModelForCausalLM.from_pretrained(str(tmp_path / "saved"))
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=IDS).logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen3"])
def test_what_learns(tiny_causal: Build, family: str) -> None:
    model = tiny_causal(family)
    wanted = norms_and_embeddings(model)
    lora = with_lora(model, LoraConfig(rank=4))
    learns = {name for name, weight in lora.named_parameters() if weight.requires_grad}
    for name in wanted:
        assert any(f".{name}." in one for one in learns), name
    assert any("lora_A" in name for name in learns)
    assert not any("lora" in name and "head" in name for name in learns)
    assert not any("base_layer" in name or "original_module" in name for name in learns)


def test_without_norms_and_embeddings_only_matrices_learn(tiny_causal: Build) -> None:
    lora = with_lora(tiny_causal(), LoraConfig(rank=2, norms_and_embeddings=False))
    assert all("lora_" in name for name, weight in lora.named_parameters() if weight.requires_grad)
