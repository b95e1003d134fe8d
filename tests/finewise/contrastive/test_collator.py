"""A batch of row numbers becomes what the library's collator makes of the texts, whether the tokens are known or not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from finewise.config import AuditConfig, ColumnsConfig, DataConfig, ModelConfig
from finewise.contrastive.collator import RowCollator, cached_features
from finewise.contrastive.config import CoSENT, LossConfig, MultipleNegativesRanking, Triplet
from finewise.contrastive.negatives import KnownPositives
from finewise.contrastive.rows import TrainingRows, training_rows
from finewise.data.sources import read_pairs
from finewise.encoder import Encoder, load_encoder
from finewise.features import numbered

PROMPTS = {"anchor": "bal ", "positive": "", "negative_1": "dol dom "}


@pytest.fixture
def model(tiny_model: Path) -> Encoder:
    return load_encoder(ModelConfig(name=str(tiny_model)), "cpu")


@pytest.fixture
def make(tmp_path: Path, learnable_pairs: Any) -> Any:
    """Makes training rows for a loss, every third row of 60 drawn."""

    def rows(loss: LossConfig, max_rows: int = 1000) -> TrainingRows:
        path = tmp_path / "rows.jsonl"
        table = [
            {"anchor": a, "positive": p, "score": n / 60, "negative_1": f"{a} {p}", "negative_2": p[:3]}
            for n, (a, p) in enumerate(learnable_pairs(60))
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
        split = read_pairs(str(path), ColumnsConfig())
        return training_rows(
            split.select(torch.arange(0, 60, 3).numpy()),
            split,
            loss,
            DataConfig(train=str(path), relevant_score=0.3),
            AuditConfig(max_rows=max_rows),
        )

    return rows


@pytest.mark.parametrize("loss", [MultipleNegativesRanking(), Triplet(), CoSENT()], ids=["mnrl", "triplet", "cosent"])
@pytest.mark.parametrize("max_rows", [1000, 10], ids=["tokens of the split", "tokens of the rows"])
def test_batches_are_the_librarys_own(model: Encoder, make: Any, loss: LossConfig, max_rows: int) -> None:
    train = make(loss, max_rows)
    assert len(train.tokenised) == (60 if max_rows == 1000 else len(train.rows))
    library = SentenceTransformerDataCollator(
        preprocess_fn=model.preprocess, prompts={name: text for name, text in PROMPTS.items() if text}
    )
    features = cached_features(model, train, PROMPTS)
    assert features is not None
    rows = [4, 0, 9, 11]
    batch = [numbered(len(train.rows))[row] for row in rows]
    expected = library([train.rows[row] for row in rows])
    for known in (features, None):
        found = RowCollator(library, train, known, None)(batch)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value
            assert not isinstance(value, torch.Tensor) or found[key].dtype == value.dtype


def test_labels_are_the_ids_of_the_texts_where_the_loss_masks(model: Encoder, make: Any) -> None:
    train = make(MultipleNegativesRanking())
    known = KnownPositives.of(train)
    library = SentenceTransformerDataCollator(preprocess_fn=model.preprocess)
    for features in (cached_features(model, train, {}), None):
        found = RowCollator(library, train, features, known)([{"row": 3}, {"row": 1}])
        assert found["label"].tolist() == [[known.anchors[row], *known.documents[row]] for row in (3, 1)]
        assert found["label"].shape == (2, 4)
