"""The loss of each token is what the model's own logits give, whatever its head does to them."""

from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)

from benchmarks.token_loss import check_fits, reading_bytes, token_losses
from finewise.errors import InputError

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def model_of(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel
    match family:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**SMALL))
        case "gemma2":  # caps its logits, and reads every other layer through a sliding window
            model = Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=0.05, sliding_window=8))
        case "granite":  # divides them
            model = GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=3.0))
        case "cohere":  # multiplies them
            model = CohereForCausalLM(CohereConfig(**SMALL, logit_scale=5.0))
        case "mixtral":  # its body gives more than hidden states
            model = MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=2, output_router_logits=True))
        case _:
            model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=64))
    model.eval()
    return model


@pytest.mark.parametrize("family", ["llama", "gemma2", "granite", "cohere", "mixtral", "gpt2"])
def test_losses_are_those_of_the_whole_logits(family: str) -> None:
    model = model_of(family)
    ids = torch.randint(3, 50, (2, 37))
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    expected = functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    for chunk in (1, 10, 74, 1000):
        torch.testing.assert_close(token_losses(model, ids, chunk=chunk), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(token_losses(model, ids, 20, chunk=7), expected[:, 19:], rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # the model is as it was
        torch.testing.assert_close(model(input_ids=ids).logits, logits)
    assert "forward" not in model.base_model.__dict__


def test_a_window_that_does_not_fit_is_refused_with_one_that_would(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    check_fits(model, 64, "perplexity.lengths", bf16=False)
    assert reading_bytes(model, 4096, bf16=False) > reading_bytes(model, 64, bf16=False)
    monkeypatch.setattr("benchmarks.token_loss.available", lambda device: reading_bytes(model, 1024, bf16=False) / 0.79)
    with pytest.raises(
        InputError, match=r"perplexity.lengths: a window of 4,096 tokens needs about .*1,024 tokens would"
    ):
        check_fits(model, 4096, "perplexity.lengths", bf16=False)
