"""Every YAML file that ships composes, and says what it is for."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from benchmarks.config import LeaderboardConfig, ScoreConfig
from benchmarks.needle.config import NeedleRunConfig
from benchmarks.perplexity_config import PerplexityRunConfig
from benchmarks.stats.config import CalibrateConfig
from classify.config import METHODS, ClassifyExperiment
from classify.losses_config import LOSSES as CLASS_LOSSES
from classify.predict_config import PredictConfig
from classify.spans.config import TokensExperiment
from embed.config import EmbedExperiment
from finewise.config import AuditRunConfig, LabelAuditRunConfig
from finewise.contrastive.config import LOSSES
from finewise.settings.edge import check, register
from finewise.settings.help import examples, page, summary
from finewise.settings.library import CONF, Library
from finewise.settings.schema import Schema
from longctx.config import OBJECTIVES, LongContextExperiment
from longctx.rope_config import ROPES
from longctx.search_config import SearchRunConfig

SCHEMAS = {
    "embed": Schema(EmbedExperiment, {"loss": LOSSES}),
    "classify": Schema(ClassifyExperiment, {"loss": CLASS_LOSSES, "method": METHODS}),
    "classify_audit": Schema(LabelAuditRunConfig, {}),
    "predict": Schema(PredictConfig, {}),
    "tokens": Schema(TokensExperiment, {}),
    "longctx": Schema(LongContextExperiment, {"rope": ROPES, "objective": OBJECTIVES}),
    "search": Schema(SearchRunConfig, {}),
    "needle": Schema(NeedleRunConfig, {}),
    "perplexity": Schema(PerplexityRunConfig, {}),
    "score": Schema(ScoreConfig, {}),
    "leaderboard": Schema(LeaderboardConfig, {}),
    "calibrate": Schema(CalibrateConfig, {}),
    "audit": Schema(AuditRunConfig, {}),
}
NEEDED = {
    "embed": ["data.train=x"],
    "classify": ["data.train=x"],
    "classify_audit": ["data.train=x"],
    "predict": ["model=x", "data=x", "output=x.csv"],
    "tokens": ["data.train=x"],
    "longctx": ["data.train=x"],
    "search": ["stretch.factor=2"],
    "needle": [],
    "perplexity": [],
    "score": ["benchmark.path=x"],
    "leaderboard": [],
    "calibrate": [],
    "audit": ["data.train=x"],
}
SWEEPS = {
    "learning_rate": ["embed", "classify", "longctx"],
    "reading": ["classify"],
    "rope": ["longctx"],
    "short_share": ["longctx"],
}
"""Which programs a sweep is for."""
EXPERIMENTS = sorted(path.stem for path in CONF.glob("exp/*.yaml"))

for name, schema in SCHEMAS.items():
    register(name, schema)


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in CONF.glob(f"{group}/*.yaml"))


def mistakes(name: str, *argv: str) -> list[str]:
    return check(name, SCHEMAS[name], list(argv)).mistakes


def test_every_primary_file_has_its_schema_here() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_primary_file_composes(name: str) -> None:
    checked = check(name, SCHEMAS[name], NEEDED[name])
    assert checked.mistakes == []
    assert type(checked.build()) is SCHEMAS[name].root


@pytest.mark.parametrize("name", SCHEMAS)
def test_primary_file_is_in_the_order_that_lets_experiments_win(name: str) -> None:
    defaults = yaml.safe_load((CONF / f"{name}.yaml").read_text())["defaults"]
    assert defaults[0] == f"{name}_schema"
    assert defaults[-1] == "_self_"
    groups = [key for item in defaults if isinstance(item, dict) for key in item]
    assert "exp" not in groups
    assert not [key for key in groups if key.startswith("override")]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_builds(experiment: str) -> None:
    name = experiment.partition("-")[0]
    checked = check(name, SCHEMAS[name], [f"+exp={experiment}"])
    assert checked.mistakes == []
    built = checked.build()
    assert type(built) is SCHEMAS[name].root
    assert checked.build().name == experiment


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_says_what_it_is_how_to_run_it_and_what_to_expect(experiment: str) -> None:
    lines = (CONF / "exp" / f"{experiment}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert summary(Library(), f"exp/{experiment}")
    header = "\n".join(lines)
    assert re.search(rf"^# Command: python -m \S+ \+exp={experiment}\b", header, re.MULTILINE)
    assert re.search(r"^# Expected: \S", header, re.MULTILINE)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_experiment_leaves_the_choice_of_the_loss_open(experiment: str) -> None:
    """A setting of one loss in an experiment would forbid all others on the command line."""
    content = yaml.safe_load((CONF / "exp" / f"{experiment}.yaml").read_text())
    assert not {key for key in content if key.partition("@")[0] == "loss"}


@pytest.mark.parametrize("name", ["embed", "audit", "classify", "classify_audit"])
@pytest.mark.parametrize("data", choices("data"))
def test_data(name: str, data: str) -> None:
    assert mistakes(name, f"data={data}", *([] if data != "files" else ["data.train=x"])) == []


@pytest.mark.parametrize("name", ["embed", "score", "audit", "classify", "classify_audit"])
@pytest.mark.parametrize("model", [model for model in choices("model") if model != "bm25"])
def test_model(name: str, model: str) -> None:
    assert mistakes(name, f"model={model}", *NEEDED[name]) == []


def test_bm25_is_scored_and_not_trained() -> None:
    assert mistakes("score", "model=bm25", *NEEDED["score"]) == []
    assert "bm25" in " ".join(mistakes("embed", "model=bm25", *NEEDED["embed"]))


@pytest.mark.parametrize("optim", choices("optim"))
def test_optim(optim: str) -> None:
    for name in ("embed", "classify"):
        assert mistakes(name, f"optim={optim}", "data.train=x") == []


@pytest.mark.parametrize("benchmark", choices("benchmark"))
def test_benchmark(benchmark: str) -> None:
    needed = [] if benchmark != "files" else ["benchmark.path=x"]
    assert mistakes("score", f"benchmark={benchmark}", *needed) == []
    needed = [] if benchmark != "files" else ["benchmarks.own.path=x"]
    assert mistakes("embed", f"+benchmark@benchmarks.own={benchmark}", "data.train=x", *needed) == []


@pytest.mark.parametrize("sweep", choices("sweep"))
def test_sweep(sweep: str) -> None:
    for name in SWEEPS[sweep]:
        assert mistakes(name, f"+sweep={sweep}", "data.train=x") == []


@pytest.mark.parametrize("method", METHODS)
def test_method(method: str) -> None:
    needed = ["method.teacher=x"] if method.startswith("distil") else []
    assert mistakes("classify", f"method={method}", "data.train=x", *needed) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_help_page(name: str) -> None:
    text = page(name, SCHEMAS[name], "", f"python -m {name}", Library())
    assert [item.key for item in SCHEMAS[name].walk({}) if item.key not in text] == []
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("file", sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml")))
def test_file_says_what_it_is_for(file: str) -> None:
    assert summary(Library(), str(Path(file).with_suffix("")))


@pytest.mark.parametrize("name", SCHEMAS)
def test_examples_of_the_help_page_are_right(name: str) -> None:
    shown = examples(name, Library())
    assert len(shown) >= 3
    for arguments in shown:
        assert mistakes(name, *arguments.split()) == []


PROGRAMS = {
    "embed.train": "embed",
    "classify.train": "classify",
    "classify.audit": "classify_audit",
    "classify.predict": "predict",
    "classify.tokens": "tokens",
    "longctx.train": "longctx",
    "longctx.search": "search",
    "benchmarks.needle": "needle",
    "benchmarks.perplexity": "perplexity",
    "benchmarks.score": "score",
    "benchmarks.leaderboard": "leaderboard",
    "benchmarks.stats.calibrate": "calibrate",
    "finewise.audit": "audit",
}


def documented() -> list[tuple[str, str, str]]:
    """Return (file, module, arguments) of every command with arguments that documents and YAML files print."""
    found = []
    for file in [CONF.parent / "README.md", *sorted(CONF.parent.glob("docs/*.md")), *sorted(CONF.rglob("*.yaml"))]:
        for module, arguments in re.findall(r"python -m ([\w.]+)([^`#\n]*)", file.read_text(encoding="utf-8")):
            given = re.sub(r"\s*[.,:;)]*\s*$", "", arguments).strip()
            # What stands for other words, or in a folder of the user's, cannot be read here.
            if module in PROGRAMS and given and "..." not in given and "--config-dir" not in given:
                found.append((str(file.relative_to(CONF.parent)), module, given))
    return found


@pytest.mark.parametrize(("file", "module", "arguments"), documented())
def test_what_documents_print_can_be_run(file: str, module: str, arguments: str) -> None:
    given = shlex.split(arguments)
    if given != ["--help"]:
        assert mistakes(PROGRAMS[module], *given) == []
