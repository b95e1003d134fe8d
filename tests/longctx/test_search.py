"""`python -m longctx.search`: what a run leaves behind, that a killed one reads nothing twice, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, LlamaForCausalLM

from finewise import record
from finewise.config import ModelConfig, PlaceConfig
from finewise.errors import InputError
from longctx import factors
from longctx.factors import read_data
from longctx.rope_config import StretchConfig
from longctx.search import main
from longctx.search_config import SearchConfig, SearchDataConfig, SearchRunConfig

Make = Callable[..., SearchRunConfig]


@pytest.fixture
def make(reader_folder: Path, long_documents: Path, tmp_path: Path) -> Make:
    """Makes the settings of a search over seven lists for the random Llama of 64 tokens, at four times its window."""

    def made(**parts: Any) -> SearchRunConfig:
        settings: dict[str, Any] = {
            "model": ModelConfig(name=str(reader_folder)),
            "stretch": StretchConfig(factor=4),
            "data": SearchDataConfig(train=str(long_documents), pieces=2, test_pieces=3),
            "search": SearchConfig(population=4, parents=2, mutations=2, crossovers=1, generations=1, probability=0.8),
            "run": PlaceConfig(root=str(tmp_path / "runs"), device="cpu", precision="fp32"),
            "resume": "auto",
        }
        return SearchRunConfig(**settings | parts)

    return made


def record_in(folder: Path) -> dict[str, Any]:
    (found,) = folder.rglob("record.json")
    return record.read(found)


def test_what_a_search_leaves_behind(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = main(make())
    found = record_in(tmp_path)
    assert found["search"]["loss"] == min(found["search"]["curve"])
    assert found["search"]["loss"] <= min(found["search"]["start"].values())
    assert value == pytest.approx(2.718281828459045 ** found["search"]["loss"])
    assert {row["metric"] for row in found["scores"]} == {"perplexity@64", "perplexity@256"}
    assert {row["system"] for row in found["scores"]} == {"untuned", "linear", "ntk", "yarn", "longrope"}
    assert {row["b"] for row in found["comparisons"]} == {"untuned", "linear", "ntk", "yarn"}
    factors_found = found["rope"]["long_factors"]
    assert len(factors_found) == 16
    assert factors_found == sorted(factors_found)
    printed = capsys.readouterr().out
    assert f"'rope.long_factors=[{factors_found[0]:g}," in printed
    (run,) = (tmp_path / "runs/search").glob("*/*")
    assert {path.name for path in (run / "plots").iterdir()} >= {"factors.png", "perplexity-by-length.svg"}
    assert "<svg" in (run / "report.html").read_text()


def test_a_search_that_is_killed_scores_no_list_twice(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, losses = [], factors.token_losses

    def counting(*given: Any) -> Any:
        read.append(0)
        if len(read) == 8:  # in the middle of the fourth list; the first is what the model loses as it is
            raise KeyboardInterrupt
        return losses(*given)

    monkeypatch.setattr(factors, "token_losses", counting)
    with pytest.raises(KeyboardInterrupt):
        main(make())
    main(make())
    found = record_in(tmp_path / "runs")
    assert len(read) == 8 + 1 + 2 * (found["search"]["scored"] - 3)
    monkeypatch.undo()
    main(make(run=PlaceConfig(root=str(tmp_path / "again"), device="cpu", precision="fp32")))
    whole = record_in(tmp_path / "again")
    assert {key: whole[key] for key in ("search", "rope", "scores")} == {
        key: found[key] for key in ("search", "rope", "scores")
    }


def test_documents_of_the_proof_are_not_those_of_the_search(
    reader_folder: Path, long_documents: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(reader_folder)
    many = SearchDataConfig(train=str(long_documents), pieces=40, test_pieces=40)
    train, test = read_data(many, tokenizer, 64, 256, 0)
    by, on = ({name.partition(",")[0] for name in pieces.ids} for pieces in (train, test))
    assert (len(by), len(on), by & on) == (10, 10, set())
    lines = long_documents.read_text().splitlines()
    for name, part in (("train", lines[:12]), ("test", lines[12:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part) + "\n")
    train, test = read_data(SearchDataConfig(train=str(tmp_path), pieces=40, test_pieces=40), tokenizer, 64, 256, 0)
    assert (len(train.ids), len(test.ids), test.lengths) == (12, 8, (64, 256))


def test_documents_that_are_searched_prove_nothing(
    reader_folder: Path, long_documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(reader_folder)
    lines = long_documents.read_text().splitlines()
    some, overlap = tmp_path / "some.jsonl", tmp_path / "overlap.jsonl"
    some.write_text("\n".join(lines[:12]))
    overlap.write_text("\n".join(lines[8:]).upper())
    overlap.write_text(overlap.read_text().replace('"TEXT"', '"text"').replace('"ID"', '"id"'))
    _, test = read_data(SearchDataConfig(train=str(some), test=str(overlap), test_pieces=40), tokenizer, 64, 256, 0)
    assert len(test.ids) == 8
    assert "note: data.test: 4 of 12 documents are in data.train: left out" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(InputError, match=r"^data\.test=\S+: every document is one of data\.train"):
        read_data(SearchDataConfig(train=str(some), test=str(some)), tokenizer, 64, 256, 0)


def test_few_long_documents_are_halved(reader_folder: Path, long_documents: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(reader_folder)
    lines = long_documents.read_text().splitlines()
    for count, halves in ((3, (2, 1)), (2, (1, 1))):
        (tmp_path / "few.jsonl").write_text("\n".join(lines[:count]))
        pair = read_data(SearchDataConfig(train=str(tmp_path / "few.jsonl")), tokenizer, 64, 256, 0)
        assert tuple(len({name.partition(",")[0] for name in pieces.ids}) for pieces in pair) == halves
    (tmp_path / "few.jsonl").write_text(lines[0])
    with pytest.raises(InputError, match=r"few\.jsonl has one document; a search needs another"):
        read_data(SearchDataConfig(train=str(tmp_path / "few.jsonl")), tokenizer, 64, 256, 0)


def test_the_proof_goes_on_where_it_was_killed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, real = [], factors._read

    def counting(system: str, *given: Any) -> Any:
        if len(read) == 3:
            read.append("")
            raise KeyboardInterrupt
        read.append(system)
        return real(system, *given)

    monkeypatch.setattr(factors, "_read", counting)
    with pytest.raises(KeyboardInterrupt):
        main(make())
    main(make())
    assert read == ["untuned", "linear", "ntk", "", "yarn", "longrope"]
    assert len(record_in(tmp_path)["comparisons"]) == 8


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"stretch": StretchConfig(factor=1)}, "a search needs a target above the original window of 64 tokens"),
        (
            {"stretch": StretchConfig(factor=64)},
            r"no document has the 4,09[56] tokens.*: lower stretch\.factor, or name longer documents \(data\.train\)",
        ),
        ({"data": SearchDataConfig(train="nowhere.jsonl")}, r"nowhere\.jsonl: no such file"),
        ({"model": ModelConfig(name="./nowhere")}, r"\./nowhere"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(
    make: Make, parts: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=rf"^[^\n]*{message}[^\n]*$"):
        main(make(**parts))
    assert not list(tmp_path.rglob("run.json"))
    assert "run: " not in capsys.readouterr().err


def test_documents_that_the_model_does_not_know_as_language_are_refused(
    make: Make, reader_folder: Path, tmp_path: Path
) -> None:
    model = LlamaForCausalLM.from_pretrained(reader_folder)
    model.lm_head.weight.data *= 100  # sure, and wrong
    model.save_pretrained(str(tmp_path / "sure"))
    AutoTokenizer.from_pretrained(reader_folder).save_pretrained(str(tmp_path / "sure"))
    with pytest.raises(
        InputError, match=r"data\.train=\S+: a perplexity of \d[\d,]* within its window is worse than guessing"
    ):
        main(make(model=ModelConfig(name=str(tmp_path / "sure"))))


def test_a_search_needs_to_know_how_far() -> None:
    with pytest.raises(ValueError, match=r"stretch\.factor or stretch\.target must say"):
        SearchRunConfig()
