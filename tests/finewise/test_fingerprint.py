"""A model's fingerprint follows its content: whatever changes an embedding changes it, and a name does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from finewise.config import ModelConfig
from finewise.encoder import Encoder, load_encoder
from finewise.fingerprint import fingerprint


def of(folder: Path, *, bf16: bool = False, execution: str = "auto", **settings: Any) -> str | None:
    return fingerprint(load_encoder(ModelConfig(name=str(folder), **settings), "cpu", execution=execution), bf16=bf16)


def test_a_copy_under_another_name_is_the_same_model(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "renamed")
    (tmp_path / "renamed" / "README.md").write_text("another card")
    assert of(tiny_model) == of(tmp_path / "renamed") == of(tiny_model)


def test_settings_that_change_the_embeddings_change_it(tiny_model: Path) -> None:
    found = [
        of(tiny_model),
        of(tiny_model, bf16=True),
        of(tiny_model, max_seq_length=32),
        of(tiny_model, query_prompt="query: "),
        of(tiny_model, document_prompt="query: "),
        of(tiny_model, execution="padded"),
        of(tiny_model, execution="sorted"),
    ]
    assert len(set(found)) == len(found)


def change(file: str, edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    return do


@pytest.mark.parametrize(
    "edit",
    [
        change("1_Pooling/config.json", lambda content: content.update(pooling_mode="cls")),
        change("config.json", lambda content: content.update(hidden_act="relu")),
        change("config.json", lambda content: content.update(layer_norm_eps=1e-3)),
        change("tokenizer_config.json", lambda content: content.update(do_lower_case=False)),
        change("modules.json", lambda content: content.pop()),
    ],
    ids=["pooling", "activation", "eps", "tokenizer", "a module less"],
)
def test_files_that_change_the_embeddings_change_it(
    tiny_model: Path, tmp_path: Path, edit: Callable[[Path], None]
) -> None:
    shutil.copytree(tiny_model, tmp_path / "changed")
    edit(tmp_path / "changed")
    assert of(tiny_model) != of(tmp_path / "changed")


def test_a_single_weight_changes_it(tiny_model: Path) -> None:
    model = load_encoder(ModelConfig(name=str(tiny_model)), "cpu")
    before = fingerprint(model, bf16=False)
    with torch.no_grad():
        weight = next(model.parameters())
        weight[-1, -1] = torch.nextafter(weight[-1, -1], torch.tensor(9.0))
    assert fingerprint(model, bf16=False) != before


def test_code_that_came_with_the_model_cannot_be_told(tiny_model: Path) -> None:
    model: Encoder = load_encoder(ModelConfig(name=str(tiny_model)), "cpu")

    class Own(torch.nn.Module):
        pass

    model.add_module("3", Own())
    assert fingerprint(model, bf16=False) is None
