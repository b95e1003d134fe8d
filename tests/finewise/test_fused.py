"""Linear layers computed with bias and GELU inside give what autocast gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from finewise.config import ModelConfig
from finewise.encoder import load_encoder
from finewise.fused import fused, supported

pytestmark = pytest.mark.skipif(not supported(), reason="this processor has no bf16 layers of oneDNN")

SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BERT = BertModel(BertConfig(**SMALL))
MODELS = {
    "bert": BERT,
    "tanh-gelu": BertModel(BertConfig(**SMALL, hidden_act="gelu_new")),
    "roberta": RobertaModel(RobertaConfig(**SMALL)),
    "distilbert": DistilBertModel(DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64)),
}


def hidden(model: nn.Module) -> torch.Tensor:
    ids = torch.arange(24).view(2, 12) + 3
    return model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.float()


@pytest.mark.parametrize("name", list(MODELS))
def test_hidden_states_are_as_close_to_fp32_as_those_of_autocast(name: str) -> None:
    model = MODELS[name].eval()
    with torch.inference_mode():
        exact = hidden(model)
        with torch.autocast("cpu", torch.bfloat16):
            usual = hidden(model)
            with fused(model):
                found = hidden(model)
            again = hidden(model)
    assert torch.equal(found, usual) == (name in ("tanh-gelu", "distilbert"))  # only GELU is rounded less often
    assert torch.equal(again, usual)  # and does not any more
    assert (found - exact).abs().mean() < 1.2 * (usual - exact).abs().mean() + 1e-5


def test_nothing_changes_with_gradients_or_in_fp32() -> None:
    model = BERT.eval()
    with torch.inference_mode(), fused(model):
        in_fp32 = hidden(model)
    with torch.autocast("cpu", torch.bfloat16), fused(model):
        with_gradients = hidden(model)
        assert with_gradients.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(hidden(model), with_gradients)
    with torch.inference_mode():
        assert torch.equal(hidden(model), in_fp32)


def test_it_ends_with_an_error_too() -> None:
    model = BERT.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), pytest.raises(KeyError), fused(model):
        raise KeyError
    assert not any("forward" in vars(module) for module in model.modules())


def test_an_encoder_that_was_trained_meanwhile_encodes_with_its_new_weights(
    still_model: Path, vocabulary: list[str]
) -> None:
    model = load_encoder(ModelConfig(name=str(still_model)), "cpu", micro_batch_tokens=32)
    texts = [" ".join(vocabulary[start : start + 5]) for start in range(40)]
    with torch.autocast("cpu", torch.bfloat16):
        before = model.encode(texts)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
        after = model.encode(texts)
    assert not np.allclose(before, after, atol=1e-2)
    assert "forward" not in vars(model[0].model.encoder.layer[0].output.dense)
