"""From files to rows: tokens as the tokenizer gives them, splits without leaks, shares kept, everything said in one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from finewise.config import AuditConfig
from finewise.errors import InputError
from longctx.config import LanguageModeling, LongDataConfig
from longctx.data import LongData, load_documents

WORDS = [f"w{number}" for number in range(50)]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that puts a token before each text, as Llama's does."""
    inner = Tokenizer(
        WordLevel({word: number for number, word in enumerate(["<unk>", "<s>", *WORDS])}, unk_token="<unk>")
    )
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>")  # type: ignore[no-untyped-call]


def texts_of(lengths: list[int], seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, length)) for length in lengths]


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def load(
    tmp_path: Path,
    tokenizer: PreTrainedTokenizerFast,
    lengths: list[int],
    objective: LanguageModeling | None = None,
    *,
    audit: AuditConfig | None = None,
    **more: object,
) -> LongData:
    settings: dict[str, object] = {
        "train": write(tmp_path / "train.jsonl", texts_of(lengths)),
        "dev": write(tmp_path / "dev.jsonl", texts_of([90, 80], seed=1)),
        "test": write(tmp_path / "test.jsonl", texts_of([90, 80], seed=2)),
    }
    config = LongDataConfig(**{**settings, **more})  # type: ignore[arg-type]
    return load_documents(
        config, objective or LanguageModeling(), tokenizer, audit or AuditConfig(), original=16, target=64, seed=3
    )


def test_ids_are_the_tokenizers_own(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    data = load(tmp_path, tokenizer, [100, 30, 5])
    for text, ids in zip(texts_of([100, 30, 5]), data.train.tokens.rows([0, 1, 2]), strict=True):
        assert ids.tolist() == tokenizer(text)["input_ids"]


def test_a_document_that_brings_its_own_first_token_has_one(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = texts_of([100, 30, 5, 50])
    brings = write(
        tmp_path / "brings.jsonl", [f"<s> {text}" if number % 2 else text for number, text in enumerate(texts)]
    )
    data = load(tmp_path, tokenizer, [1], train=brings)
    for text, ids in zip(texts, data.train.tokens.rows([0, 1, 2, 3]), strict=True):
        assert ids.tolist() == tokenizer(text)["input_ids"]
    assert "train: 2 of 4 documents bring their own first token" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_the_share_of_short_tokens(tmp_path: Path, tokenizer: PreTrainedTokenizerFast, share: float) -> None:
    data = load(tmp_path, tokenizer, [200] * 40 + [10] * 30, LanguageModeling(short_share=share))
    assert data.train.short_share == pytest.approx(share, abs=0.02)
    assert data.counts["short_share"] == pytest.approx(share, abs=0.02)
    assert data.train.window == 64
    left_out = [note for note in data.notes if "short pieces are not read" in note]
    # All long documents alone are 8,000 tokens, the short ones 300: only share 0 leaves some out.
    assert bool(left_out) == (share == 0)


def test_documents_below_the_window_are_told(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    load(tmp_path, tokenizer, [200] * 10 + [40] * 5 + [10] * 5)
    told = capsys.readouterr().err
    assert "10 of 20 documents (11.5% of the tokens) are shorter than the window of 64 tokens" in told
    assert "documents within the trained window of 16 hold 2.4%" in told


def test_nothing_long_is_an_error_unless_positions_skip(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(InputError, match=r"none of 12 documents is longer than the trained window of 16") as error:
        load(tmp_path, tokenizer, [12] * 12)
    assert "objective.pose=true" in str(error.value)
    data = load(tmp_path, tokenizer, [15] * 60, LanguageModeling(pose=True, short_share=0.25))
    assert data.train.window == 16
    assert data.train.short_share == pytest.approx(0.25, abs=0.02)
    reach = max(int(places[-1]) for row in range(len(data.train)) for _, places in data.train.row(row))
    assert 48 < reach < 64


def test_short_pieces_beside_skipping_ones_are_within_the_trained_window(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    data = load(tmp_path, tokenizer, [200] * 30, LanguageModeling(pose=True, window=32, short_share=0.5))
    assert data.train.short_share == pytest.approx(0.5, abs=0.05)
    pieces = [piece for row in range(len(data.train)) for piece in data.train.row(row)]
    assert max(len(ids) for ids, _ in pieces) == 32
    still = [len(ids) for ids, places in pieces if places[-1] == len(ids) - 1]
    assert sum(size > 16 for size in still) <= 0.05 * len(still), "but for those whose skip is drawn as none"


def test_a_window_beyond_the_new_one_is_refused(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(InputError, match=r"objective.window=65 is longer than the new window of 64 tokens"):
        load(tmp_path, tokenizer, [200] * 10, LanguageModeling(window=65))


def test_a_leak_is_refused_or_dropped(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    leaky = write(tmp_path / "leaky.jsonl", [texts_of([200] * 5)[2], *texts_of([90], seed=7)])
    with pytest.raises(InputError, match=r"1 of 5 training rows are in the held-out data.*train.jsonl line 3"):
        load(tmp_path, tokenizer, [200] * 5, dev=leaky)
    data = load(tmp_path, tokenizer, [200] * 5, dev=leaky, audit=AuditConfig(leakage="drop"))
    assert data.rows["train"] == 4
    assert data.facts()["audit"]["dropped_rows"] == 1
    console = Console(width=200)
    with console.capture() as screen:
        console.print(data.report.brief())
    assert "examples of all: data.audit in record.json" in screen.get(), "finewise.audit reads pairs, not documents"


def test_splits_keep_equal_documents_together(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    texts = texts_of([40] * 30)
    file = write(tmp_path / "all.jsonl", [*texts, *texts])
    data = load(tmp_path, tokenizer, [], train=file, dev=None, test=None, dev_size=10, test_size=0.2)
    assert data.rows == {"train": 38, "dev": 10, "test": 12}
    assert data.report.leaked.tolist() == []
    again = load(tmp_path, tokenizer, [], train=file, dev=None, test=None, dev_size=10, test_size=0.2)
    assert again.revision == data.revision


def test_limits_on_documents(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    data = load(tmp_path, tokenizer, [200] * 9, max_train_rows=4, max_dev_rows=1)
    assert (data.rows["train"], data.rows["dev"]) == (4, 1)
    assert data.dev.window == 64
    assert len(data.dev) == 2  # 81 or 91 tokens in pieces of 64


def test_dev_is_not_split_off_from_test_documents(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    lengths = [40] * 100
    test = write(tmp_path / "half.jsonl", texts_of(lengths)[50:])
    data = load(tmp_path, tokenizer, lengths, audit=AuditConfig(leakage="drop"), dev=None, test=test, dev_size=30)
    assert data.rows == {"train": 20, "dev": 30, "test": 50}
    assert not {*data.seen.tolist()} & {*data.test.keys.tolist()}
    test = write(tmp_path / "most.jsonl", texts_of(lengths)[20:])
    with pytest.raises(InputError, match=r"80 of 100 rows are in the other held-out file, so only 20 of 50"):
        load(tmp_path, tokenizer, lengths, dev=None, test=test, dev_size=50)


def test_seeds_share_dev_and_test(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    config = LongDataConfig(train=write(tmp_path / "train.jsonl", texts_of([40] * 100)), max_dev_rows=5)
    first, other = (
        load_documents(config, LanguageModeling(), tokenizer, AuditConfig(), original=16, target=64, seed=seed)
        for seed in (1, 2)
    )
    assert first.revision == other.revision
