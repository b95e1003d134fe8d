"""A stretched encoder is trained on pairs with long documents: nothing is cut unsaid, and any execution learns the same."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, EuroBertConfig, ModernBertConfig, PretrainedConfig, PreTrainedTokenizerFast

from benchmarks.needle.config import PasskeyConfig
from finewise.config import AuditConfig, ColumnsConfig, ModelConfig, OptimConfig, RunConfig, SelectionConfig
from finewise.data.retrieval import RetrievalSet
from finewise.data.tokens import TokenLimit, token_limit
from finewise.encoder import Encoder, load_encoder
from finewise.errors import InputError
from finewise.fit import Outcome
from finewise.run import Run
from longctx.config import Contrastive, LongContextExperiment, LongDataConfig
from longctx.contrastive import LongPairs, load_pairs, train_contrastive
from longctx.rope_config import StretchConfig, Yarn
from longctx.stretch import stretch_encoder
from longctx.study import study

WINDOW, TARGET = 32, 128
KEYS = [f"key{number}" for number in range(40)]
FILLER = [f"and{number}" for number in range(8)]
SIZES: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "pad_token_id": 0,
    "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": WINDOW, "vocab_size": 4 + len(KEYS) + len(FILLER),
}  # fmt: skip
FAMILIES: dict[str, PretrainedConfig] = {
    "eurobert": EuroBertConfig(**SIZES),
    "modernbert": ModernBertConfig(
        **SIZES, layer_types=["full_attention", "sliding_attention"], local_attention=16, cls_token_id=2, sep_token_id=3
    ),
}


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny encoders with rotary positions and a window of 32 tokens, by family."""
    words = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *KEYS, *FILLER])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = {}
    for family, config in FAMILIES.items():
        folder = tmp_path_factory.mktemp(family)
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder / "base")
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=WINDOW
        ).save_pretrained(folder / "base")
        modules = [Transformer(str(folder / "base")), Pooling(SIZES["hidden_size"], "mean")]
        made[family] = folder / "model"
        SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(made[family]))
    return made


@pytest.fixture(params=list(FAMILIES))
def each(request: pytest.FixtureRequest, encoders: dict[str, Path]) -> Path:
    return encoders[request.param]


@pytest.fixture
def encoder(encoders: dict[str, Path]) -> Path:
    return encoders["eurobert"]


def stretched(folder: Path, execution: str = "auto") -> Encoder:
    encoder = load_encoder(ModelConfig(name=str(folder)), "cpu")
    stretch_encoder(encoder, Yarn(), StretchConfig(target=TARGET))
    encoder.execute(execution)
    return encoder


def limit_of(folder: Path) -> TokenLimit:
    limit = token_limit(ModelConfig(name=str(folder), max_seq_length=TARGET))
    assert isinstance(limit, TokenLimit)
    return limit


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def document(rng: random.Random, keys: list[str], length: int) -> str:
    words = rng.choices(FILLER, k=length - len(keys))
    for key in keys:
        words.insert(rng.randrange(len(words) + 1), key)
    return " ".join(words)


def rows(count: int = 240, length: int = 100) -> list[dict[str, Any]]:
    """Queries of three keys, and documents of up to `length` words that hold each of them twice."""
    rng = random.Random(0)
    drawn = [rng.sample(KEYS, 3) for _ in range(count)]
    return [
        {"anchor": " ".join(keys), "positive": document(rng, 2 * keys, rng.randrange(length // 2, length + 1))}
        for keys in drawn
    ]


def experiment_of(tmp_path: Path, folder: Path, **parts: Any) -> LongContextExperiment:
    settings: dict[str, Any] = {
        "data": LongDataConfig(train=write(tmp_path / "rows.jsonl", rows()), dev_size=30, test_size=30),
        "model": ModelConfig(name=str(folder)),
        "objective": Contrastive(),
        "stretch": StretchConfig(target=TARGET),
        "optim": OptimConfig(batch_size=32, learning_rate=3e-3, epochs=6),
        "selection": SelectionConfig(metric="passkey", evaluations=2),
        "run": RunConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
    }
    return LongContextExperiment(**settings | parts)


def load(experiment: LongContextExperiment, folder: Path) -> LongPairs:
    assert isinstance(experiment.objective, Contrastive)
    return load_pairs(
        experiment.data, experiment.objective, AuditConfig(), experiment.seed, limit_of(folder), original=WINDOW
    )


def found_first(encoder: Encoder, task: RetrievalSet) -> float:
    queries, documents = (
        encoder.encode(list(texts), normalize_embeddings=True) for texts in (task.queries, task.corpus)
    )
    best = (np.asarray(queries) @ np.asarray(documents).T).argmax(1)
    right = [task.qrels[key].get(task.corpus_ids[place], 0) for key, place in zip(task.query_ids, best, strict=True)]
    return float(np.mean(right))


def trained(experiment: LongContextExperiment, folder: Path) -> tuple[Encoder, LongPairs, Outcome]:
    encoder, data = stretched(folder, experiment.execution), load(experiment, folder)
    with Run.open("longctx", experiment, resume="never") as run:
        outcome = train_contrastive(encoder, data, experiment, run, score=lambda one: found_first(one, data.dev))
    return encoder, data, outcome


def test_it_learns_to_find_long_documents(each: Path, tmp_path: Path) -> None:
    model, data, outcome = trained(experiment_of(tmp_path, each), each)
    assert model.execution.mode == "packed"
    assert outcome.best_score == found_first(model, data.dev)
    assert found_first(model, data.test) > found_first(stretched(each), data.test) + 0.2


@pytest.mark.parametrize(
    "parts",
    [
        {"execution": "auto", "recompute": "always", "micro_batch_tokens": 256},
        {"execution": "sorted", "micro_batch_tokens": 256},
        {"optim": {"activation_checkpointing": True}},
    ],
    ids=["packed, recomputed", "sorted", "activation checkpointing"],
)
def test_however_it_is_computed_the_same_is_learnt(each: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    plain = experiment_of(tmp_path, each, execution="padded")
    # Adam would make steps of the same size of whatever rounding leaves where the gradient is zero.
    optim = replace(plain.optim, optimizer="sgd", learning_rate=0.1, max_steps=3)
    plain = replace(plain, optim=optim, selection=replace(plain.selection, evaluations=1))
    other = replace(plain, **{"execution": "auto", **parts, "optim": replace(optim, **parts.get("optim", {}))})
    expected, _, _ = trained(plain, each)
    found, _, _ = trained(other, each)
    assert found.execution.mode == ("sorted" if other.execution == "sorted" else "packed")
    before, weights = dict(stretched(each).named_parameters()), dict(found.named_parameters())
    for name, weight in expected.named_parameters():
        torch.testing.assert_close(weights[name], weight, rtol=1e-4, atol=1e-5)
    moved = torch.cat([(weights[name] - before[name]).abs().flatten() for name in before])
    assert moved.max() > 1e-3


def test_what_the_new_window_holds_is_read_and_what_it_does_not_is_told(encoder: Path, tmp_path: Path) -> None:
    table = rows()
    table[7]["positive"] = document(random.Random(1), KEYS[:3], 150)
    data = LongDataConfig(train=write(tmp_path / "long.jsonl", table), dev_size=30, test_size=30)
    found = load(experiment_of(tmp_path, encoder, data=data), encoder)
    cuts = {(cut.split, cut.column): cut for cut in found.report.truncation}
    assert {cut.limit for cut in cuts.values()} == {TARGET}
    assert sum(cut.over for (_, column), cut in cuts.items() if column == "positive") == 1
    assert max(cut.longest for cut in cuts.values()) == 150
    assert found.facts()["audit"]["truncation"]
    model = stretched(encoder)
    text = document(random.Random(2), KEYS[:3], 120)
    assert model.preprocess([text])["input_ids"].shape == (1, 120)
    other = text.rsplit(" ", 1)[0] + " key39"
    one, two = model.encode([text, other])
    assert np.abs(one - two).max() > 1e-4


def test_pairs_without_a_long_text_are_refused(encoder: Path, tmp_path: Path) -> None:
    data = LongDataConfig(train=write(tmp_path / "short.jsonl", rows(length=30)), dev_size=30, test_size=30)
    with pytest.raises(InputError, match=r"short.jsonl: the longest training text has 30 tokens, .* with 32 already"):
        load(experiment_of(tmp_path, encoder, data=data), encoder)


def test_columns_and_scores_are_read_as_the_settings_say(encoder: Path, tmp_path: Path) -> None:
    table = [
        {"question": row["anchor"], "page": row["positive"], "score": number % 4} for number, row in enumerate(rows())
    ]
    parts = {"train": table[:180], "dev": table[180:210], "test": table[210:]}
    data = LongDataConfig(
        **{part: write(tmp_path / f"{part}.jsonl", some) for part, some in parts.items()},
        columns=ColumnsConfig(anchor="question", positive="page"),
        relevant_score=2,
    )
    found = load(experiment_of(tmp_path, encoder, data=data), encoder)
    assert min(found.train.pairs.scores()) == 2
    assert len(found.train.rows) == 90
    low = [row | {"score": number % 2} for number, row in enumerate(parts["train"])]
    with pytest.raises(
        InputError, match=r"^objective\.loss=mnrl takes rows for positive pairs.*set data\.relevant_score$"
    ):
        load(experiment_of(tmp_path, encoder, data=replace(data, train=write(tmp_path / "low.jsonl", low))), encoder)


def test_all_arms_are_scored_on_the_test_split_too(encoder: Path, tmp_path: Path) -> None:
    settings = experiment_of(
        tmp_path,
        encoder,
        data=LongDataConfig(name="keys", train=write(tmp_path / "rows.jsonl", rows(60)), dev_size=10, test_size=20),
        optim=OptimConfig(batch_size=16, max_steps=2),
        passkey=PasskeyConfig(lengths=[64, TARGET], queries=4, documents=8),
        compare=["none", "linear"],
        seeds=2,
    )
    with Run.open("longctx", settings, resume="never") as run:
        found = study(settings, run)
    held = [result for result in found.results if result.benchmark == "retrieval keys"]
    systems = ["untuned", "linear", "yarn", "tuned", "chunk and pool", "late chunking", "bm25"]
    assert [result.system for result in held] == systems
    for result in held:  # both seeds' models read the same queries
        assert result.metric == "ndcg@10"
        assert result.read() == [64, TARGET]
        assert result.groups.tolist() == [0] * (len(result.ids) // 2) + [1] * (len(result.ids) // 2)
        assert result.ids == held[0].ids
    assert held[-1].mean() == pytest.approx(1, abs=0.05)


def books(count: int, sentences: int) -> list[dict[str, Any]]:
    """Documents of sentences of ten words."""
    rng = random.Random(1)
    return [
        {"body": " ".join(" ".join(["So", *rng.choices(KEYS, k=8), "end."]) for _ in range(sentences))}
        for _ in range(count)
    ]


def test_documents_are_cut_into_pairs_of_all_lengths(encoder: Path, tmp_path: Path) -> None:
    settings = experiment_of(
        tmp_path,
        encoder,
        data=LongDataConfig(
            name="books",
            train=write(tmp_path / "books.jsonl", books(20, 60)),
            documents=True,
            text="body",
            dev_size=2,
            test_size=4,
            max_train_rows=30,
        ),
        optim=OptimConfig(batch_size=16, max_steps=2),
        passkey=PasskeyConfig(lengths=[64, TARGET], queries=4, documents=8),
        compare=["none"],
        chunked=False,
    )
    with Run.open("longctx", settings, resume="never") as run:
        found = study(settings, run)
        cut = {
            split: [json.loads(line) for line in (run.dir / f"seed-42/data/{split}.jsonl").read_text().splitlines()]
            for split in ("train", "dev", "test")
        }
    assert len(cut["train"]) == 30
    assert {len(row["positive"].split()) // 10 * 10 for row in cut["test"]} == {10, 30, 60, 120}
    texts = [row["body"] for row in books(20, 60)]
    origin = {split: {text for row in rows for text in texts if row["anchor"] in text} for split, rows in cut.items()}
    assert (len(origin["dev"]), len(origin["test"])) == (2, 4)
    assert not origin["train"] & (origin["dev"] | origin["test"])
    held = [result for result in found.results if result.benchmark == "retrieval books"]
    assert [result.system for result in held] == ["untuned", "yarn", "tuned", "bm25"]
    assert held[0].read() == [64, TARGET]


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        (
            1,
            r"^.*books\.jsonl: the 8 documents of train give 0 passages of 8 tokens or more, and 2 are needed; give longer",
        ),
        (3, r"train\.jsonl: the longest training text has \d+ tokens, and the model was trained with 32 already"),
    ],
)
def test_documents_that_are_too_short_are_refused(encoder: Path, tmp_path: Path, sentences: int, message: str) -> None:
    data = LongDataConfig(
        train=write(tmp_path / "books.jsonl", books(12, sentences)),
        documents=True,
        text="body",
        dev_size=2,
        test_size=2,
    )
    settings = experiment_of(tmp_path, encoder, data=data)
    with Run.open("longctx", settings, resume="never") as run, pytest.raises(InputError, match=message):
        study(settings, run)
