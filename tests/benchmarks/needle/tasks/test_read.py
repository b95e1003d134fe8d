"""All thirteen tasks and nolima, read by a model."""

from itertools import islice
from typing import Any

import numpy as np
import pytest

from benchmarks.needle.config import NeedleConfig
from benchmarks.needle.haystacks import text_sentences
from benchmarks.needle.names import RULER
from benchmarks.needle.run import needle
from benchmarks.needle.tasks import TASKS


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<s>", "<pad>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(islice(text_sentences("novels"), 300), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, bos_token="<s>", pad_token="<pad>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


@pytest.mark.parametrize("way", ["forced", "generate"])
def test_every_task_is_read_and_scored(way: str, tokenizer: Any) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmarks.needle.reader import Reader

    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=2048, bos_token_id=0, pad_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    config = NeedleConfig(tasks=["ruler", "nolima"], depths=[0.0, 1.0], samples=1, answer=way)
    found = needle(Reader(lambda length: model, tokenizer, config, bf16=False), "untuned", [1500], config, seed=1)
    assert [one.benchmark for one in found] == [f"needle {task}" for task in (*RULER, "nolima")]
    for one, task in zip(found, (*RULER, "nolima"), strict=True):
        assert len(one.ids) == (2 if TASKS[task].has_depth else 1)
        assert one.metric == ("exact" if way == "forced" else TASKS[task].metric)
        assert np.isfinite(one.values).all()
