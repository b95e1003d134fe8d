"""What a run leaves behind: the record's fields, pictures as files, the model's card."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks import by_length
from benchmarks.by_length import ByLength
from benchmarks.needle.config import NeedleConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import ModelConfig
from finewise.record import FILE, read
from finewise.run import Run
from longctx.config import Contrastive, LongContextExperiment
from longctx.export import finish, model_card
from longctx.prove import Proof, prove
from longctx.rope_config import SelfExtend
from longctx.study import Found
from longctx.train import loads_with

Make = Callable[..., LongContextExperiment]

FACTS: dict[str, Any] = {
    "device": {"type": "cpu", "name": "a processor"},
    "model": {"name": "a-model", "original": 64, "target": 256},
    "lengths": [64, 256],
    "data": None,
}


def result(system: str, far: float, benchmark: str = "needle tiny", metric: str = "exact") -> ByLength:
    """Return 20 prompts at each of two lengths: all right at the first, a share of them at the second."""
    values = np.concatenate([np.ones(20), np.arange(20) < far * 20]).astype(float)
    depths = np.tile([0.0, 1.0], 20) if metric == "exact" else np.full(40, np.nan)
    return ByLength(
        system=system, benchmark=benchmark, split="test", data_revision="r", metric=metric,
        ids=tuple(str(number % 20) for number in range(40)), lengths=np.repeat([64, 256], 20), depths=depths,
        groups=np.zeros(40, np.int64), values=values, weights=np.ones(40),
    )  # fmt: skip


def proven(experiment: LongContextExperiment, *systems: str) -> tuple[Found, Proof]:
    shares = dict(zip(systems, (0.1, 0.4, 0.9), strict=False))
    results = [result(system, far) for system, far in shares.items()]
    results += [result(system, 1 - far, "perplexity", "perplexity") for system, far in shares.items()]
    found = Found(results=results, outcome=None, best=0.75, before=None, test_reads=0, facts=FACTS)
    return found, prove(found, experiment)


def test_the_record_the_pictures_and_the_files(reading: Make) -> None:
    experiment = reading(compare=["none", "self_extend"])
    found, proof = proven(experiment, "untuned", "self_extend", "yarn")
    with Run.open("longctx", experiment) as run:
        (run.dir / "model").mkdir()
        record = finish(found, proof, experiment, run)
    assert read(run.dir / FILE) == record
    assert record["model"] == {**FACTS["model"], "embeds": False, "saved": "model"}
    assert record["rope"] == {
        "method": "yarn", "adapted": False, "lengths": [64, 256], "self_extend": {"window": 16, "group": 5},
    }  # fmt: skip
    chosen = {key: value for key, value in record["selection"].items() if key != "test_sets"}
    assert chosen == {"split": "dev", "metric": "needle", "best": 0.75}, "no training, no selection"
    assert record["data"]["rows"] == {}
    assert record["headlines"] == {"needle tiny": "exact@256", "perplexity": "perplexity@256"}
    assert record["effective_length"]["needle tiny"]["yarn"] == {"ruler": 256, "nolima": 256}
    assert record["effective_length"]["needle tiny"]["untuned"]["ruler"] == 64
    assert {(row["a"], row["b"]) for row in record["comparisons"]} == {("yarn", "untuned"), ("yarn", "self_extend")}
    assert [row["system"] for row in record["scores"][:6:2]] == ["yarn", "untuned", "self_extend"]
    assert (record["seed"], record["seeds"], record["device"]) == (42, 1, FACTS["device"])
    assert loads_with(record) == "AutoModelForCausalLM"
    assert len(by_length.load(run.dir / by_length.FILE)) == 6
    drawn = ["needle-tiny", "needle-tiny-untuned-heatmap", "needle-tiny-yarn-heatmap", "perplexity"]
    assert sorted(path.name for path in (run.dir / "pictures").iterdir()) == sorted(
        f"{name}.{kind}" for name in drawn for kind in ("png", "svg")
    )
    page = (run.dir / "report.html").read_text()
    assert page.count("<svg") == len(drawn)
    for heading in ("Verdict", "needle tiny by length", "needle tiny, yarn", "perplexity by length", "Settings"):
        assert heading in page
    assert "Choice of the checkpoint" not in page
    assert (run.dir / "model/README.md").read_text() == model_card(found, proof, experiment)


def test_the_card_of_a_stretched_model(reading: Make) -> None:
    experiment = reading(compare=["none"], model=ModelConfig(name="someone/a-model"), name="mine")
    card = model_card(*proven(experiment, "untuned", "yarn"), experiment)
    front = card.split("---")[1]
    assert 'library_name: "transformers"' in front
    assert 'base_model: "someone/a-model"' in front
    for expected in (
        "# mine: someone/a-model stretched to 256 tokens",
        'AutoModelForCausalLM.from_pretrained("path/to/this/folder")',
        "stretched from 64 to 256 tokens by\n`rope=yarn`",
        "- needle tiny, untuned: 64 tokens by RULER's rule",
        "## Training\n\nNot trained.",
        "## Limits",
    ):
        assert expected in card
    assert "perplexity" not in card.split("## Scores")[1].split("## How far")[0], "the table is of the first benchmark"


def test_the_card_of_a_model_read_by_self_extend_shows_how(reading: Make) -> None:
    experiment = reading(rope=SelfExtend(window=8))
    found, proof = proven(experiment, "untuned", "self_extend")
    card = model_card(found, proof, experiment)
    code = card.split("```python\n")[1].split("```")[0]
    assert "with self_extend(model, Sizes(window=8, group=5)):" in code
    compile(code, "card", "exec")
    assert "as it was, which reads 64 tokens" in card
    assert "read to 256 tokens" in card
    assert "rope_parameters" not in card

    embeds = replace(experiment, objective=Contrastive(), perplexity=PerplexityConfig(), needle=NeedleConfig())
    card = model_card(found, proof, embeds)
    code = card.split("```python\n")[1].split("```")[0]
    assert "model.max_seq_length = 256" in code
    assert "with self_extend(model[0].model, Sizes(window=8, group=5)):" in code
    compile(code, "card", "exec")
    assert 'pipeline_tag: "sentence-similarity"' in card


@pytest.mark.parametrize(("embeds", "opens"), [(False, "AutoModelForCausalLM"), (True, "SentenceTransformer")])
def test_what_opens_the_model(embeds: bool, opens: str) -> None:
    record = {"model": {"embeds": embeds}, "rope": {"method": "yarn"}}
    assert loads_with(record) == opens
    assert loads_with(record | {"rope": {"method": "self_extend"}}).startswith(f"{opens}; Self-Extend is no part of it")
