"""Perplexity by sliding windows: the loss of each token as whole logits give it, and the same tokens at every length."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks import by_length
from benchmarks.perplexity import main, perplexity, windows
from benchmarks.perplexity_config import PerplexityConfig, PerplexityRunConfig
from benchmarks.pieces import read_pieces, special_tokens
from finewise import record
from finewise.config import ModelConfig, PlaceConfig
from finewise.errors import InputError

WORDS = [f"w{number}" for number in range(30)]


def tokenizer_of(*, before: bool) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    known = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    inner = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if before:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=33, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=32, bos_token_id=1, eos_token_id=2, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@pytest.fixture
def documents(tmp_path):
    """Five documents of 150 words and one of 40, in a folder with a test file."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size)) for size in (150, 150, 40, 150, 150, 150)]
    lines = [json.dumps({"id": f"d{number}", "text": text}) for number, text in enumerate(texts)]
    (tmp_path / "test.jsonl").write_text("\n".join(lines))
    return tmp_path


def settings(folder, **changes):
    return PerplexityConfig(**{"data": str(folder), "lengths": [16, 64], "documents": 4, **changes})


@given(st.integers(2, 200), st.integers(2, 50), st.floats(0.01, 1))
def test_every_token_is_new_in_exactly_one_window(tokens, window, stride):
    window = min(window, tokens)
    scored = []
    for one in windows(tokens, window, stride):
        assert one.end - one.start == window
        assert one.start < one.new < one.end <= tokens  # whatever is scored has a token before it
        scored += range(one.new, one.end)
    assert scored == list(range(1, tokens))


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("stride", [0.25, 0.5, 1.0])
def test_losses_are_those_of_each_window_alone(model, documents, before, stride):
    tokenizer = tokenizer_of(before=before)
    config = settings(documents, stride=stride)
    model.train()
    result, positions = perplexity(
        lambda length: model, tokenizer, "untuned", [], config, bf16=False, seed=0, group=2, original=32
    )
    assert model.training
    model.eval()
    pieces = read_pieces(config, tokenizer, [], 32, 0)
    start = [1] if before else []
    assert special_tokens(tokenizer) == (start, [])
    for length in (16, 64):
        expected = []
        for piece in pieces.tokens.tolist():
            losses = []
            for window in windows(len(piece), length - len(start), stride):
                ids = torch.tensor([[*start, *piece[window.start : window.end]]])
                with torch.no_grad():
                    every = functional.cross_entropy(model(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
                losses += every[len(start) + window.new - window.start - 1 :].tolist()
            assert len(losses) == len(piece) - 1
            expected.append(np.mean(losses))
        part = result.at(length)
        np.testing.assert_allclose(part.values, expected, rtol=1e-5)
        assert part.weights.tolist() == [len(piece) - 1] * 4
        assert part.mean() == pytest.approx(math.exp(np.mean(expected)), rel=1e-5)
    assert set(result.groups.tolist()) == {2}
    assert (result.metric, result.split) == ("perplexity", "test")
    # all tokens are in one bucket of positions, and together they are the loss of the longest windows
    assert sum(positions.counts) == 4 * (len(piece) - 1)
    assert np.average(positions.nll, weights=positions.counts) == pytest.approx(np.mean(expected), rel=1e-5)
    assert (positions.length, positions.edges[0], positions.edges[-1]) == (64, 1, len(piece))
    middles, values = positions.curve
    assert len(middles) == len(values) == len(positions.counts)


def test_pieces_come_from_one_document_each_and_are_the_same_for_all_systems(documents, capsys):
    tokenizer = tokenizer_of(before=True)
    pieces = read_pieces(settings(documents, documents=7), tokenizer, [128], 32, 0)
    assert [name.partition(",")[0] for name in pieces.ids[:5]] != sorted({f"d{n}" for n in range(6)} - {"d2"})
    names = [name.partition(",")[0] for name in pieces.ids]
    assert set(names[:5]) == {"d0", "d1", "d3", "d4", "d5"}
    assert len(names) == 7  # a second piece of two of them
    assert len(set(pieces.ids)) == 7
    assert "1 of 6 documents" in capsys.readouterr().err
    texts = [json.loads(line)["text"] for line in (documents / "test.jsonl").read_text().splitlines()]
    for tokens, name in zip(pieces.tokens, pieces.ids, strict=True):
        row, _, start = name.removeprefix("d").partition(", token ")
        ids = tokenizer(texts[int(row)], add_special_tokens=False)["input_ids"]
        assert tokens.tolist() == ids[int(start) : int(start) + 63]
    again = read_pieces(settings(documents, documents=7), tokenizer, [128], 32, 0)
    assert (again.revision, again.ids) == (pieces.revision, pieces.ids)
    assert read_pieces(settings(documents, documents=7), tokenizer, [], 32, 1).revision != pieces.revision


def test_a_document_that_brings_the_first_token_gives_the_same_pieces(documents):
    tokenizer = tokenizer_of(before=True)
    expected = read_pieces(settings(documents), tokenizer, [128], 32, 0)
    rows = [json.loads(line) for line in (documents / "test.jsonl").read_text().splitlines()]
    (documents / "test.jsonl").write_text("\n".join(json.dumps(row | {"text": f"<s> {row['text']}"}) for row in rows))
    found = read_pieces(settings(documents), tokenizer, [128], 32, 0)
    assert np.array_equal(found.tokens, expected.tokens)


def test_a_short_window_always_stands_beside_the_long_ones(documents):
    tokenizer = tokenizer_of(before=False)
    assert read_pieces(settings(documents, lengths=[]), tokenizer, [128, 64], 32, 0).lengths == (32, 64, 128)
    assert read_pieces(settings(documents, lengths=[]), tokenizer, [64, 16], 32, 0).lengths == (16, 64)


def test_documents_that_are_too_short_are_told(documents, capsys):
    tokenizer = tokenizer_of(before=True)
    with pytest.raises(InputError) as caught:
        read_pieces(settings(documents, lengths=[512]), tokenizer, [], 32, 0)
    message = str(caught.value)
    assert "test.jsonl: no document has the 511 tokens that a window of 512 takes; the longest has 150" in message
    assert "lower perplexity.lengths" in message
    assert "\n" not in message
    read_pieces(settings(documents, lengths=[128], documents=9), tokenizer, [], 32, 0)
    assert "has 5 pieces of 128 tokens, not 9" in capsys.readouterr().err


def test_a_loss_that_is_no_number_is_refused(model, documents):
    broken = LlamaForCausalLM(model.config)
    broken.lm_head.weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="bad: the loss at 16 tokens is not finite"):
        perplexity(
            lambda length: broken,
            tokenizer_of(before=True),
            "bad",
            [],
            settings(documents),
            bf16=False,
            seed=0,
            original=32,
        )


def test_a_model_that_is_worse_than_a_guess_is_told(model, documents, capsys):
    sure = LlamaForCausalLM(model.config)
    for factor, told in ((1e-3, False), (100, True)):
        sure.lm_head.weight.data = model.lm_head.weight.data * factor
        perplexity(
            lambda length: sure,
            tokenizer_of(before=True),
            "sure",
            [],
            settings(documents),
            bf16=False,
            seed=0,
            original=32,
        )
        assert ("sure: a perplexity of " in capsys.readouterr().err) == told


def test_the_program_scores_a_saved_model(model, documents, tmp_path, capsys):
    folder = tmp_path / "model"
    model.save_pretrained(str(folder))
    tokenizer_of(before=True).save_pretrained(str(folder))
    config = PerplexityRunConfig(
        model=ModelConfig(name=str(folder)),
        perplexity=settings(documents),
        run=PlaceConfig(dir=str(tmp_path / "run"), device="cpu", precision="fp32"),
    )
    value = main(config)
    content = record.read(tmp_path / "run" / record.FILE)
    assert [score["metric"] for score in content["scores"]] == ["perplexity@16", "perplexity@64"]
    assert content["scores"][1]["value"] == pytest.approx(value)
    assert content["data"]["special_tokens_before"] == [1]
    assert content["model"]["original"] == 32
    (kept,) = by_length.load(tmp_path / "run" / by_length.FILE)
    assert kept.mean(64) == pytest.approx(value)
    assert (tmp_path / "run" / "plots" / "perplexity-by-position.svg").exists()
    assert "By position" in (tmp_path / "run" / "report.html").read_text()
    assert f"{value:.3f}" in capsys.readouterr().out


def test_what_an_embedding_model_would_have_is_refused():
    with pytest.raises(ValueError, match=r"model\.query_prompt is for embedding models"):
        PerplexityRunConfig(model=ModelConfig(query_prompt="query: "))
    with pytest.raises(ValueError, match=r"perplexity\.data must name the documents"):
        PerplexityRunConfig(perplexity=PerplexityConfig(data=None))
    with pytest.raises(ValueError, match=r"perplexity\.stride must be above 0 and at most 1"):
        PerplexityConfig(stride=0)
