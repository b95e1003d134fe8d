"""data.train=tiny: what a run of the made-up language is trained on."""

import json
from pathlib import Path

from benchmarks.needle.config import NeedleConfig
from benchmarks.perplexity_config import PerplexityConfig
from finewise.config import ModelConfig, RunConfig, SelectionConfig
from finewise.run import Run
from longctx.config import LanguageModeling, LongContextExperiment, LongDataConfig
from longctx.rope_config import StretchConfig
from longctx.tiny.supply import tiny_rows


def lengths_of(folder: Path, objective: LanguageModeling) -> dict[str, set[int]]:
    """Return the lengths of the documents of each split, for a window of 64 stretched to 256."""
    experiment = LongContextExperiment(
        model=ModelConfig(name="tiny:causal"),
        data=LongDataConfig(train="tiny", max_train_rows=20),
        objective=objective,
        needle=NeedleConfig(tasks=["tiny"]),
        perplexity=PerplexityConfig(data=None),
        selection=SelectionConfig(metric="needle"),
        stretch=StretchConfig(factor=4),
        run=RunConfig(root=str(folder)),
    )
    with Run.open("longctx", experiment, resume="never") as run:
        config = tiny_rows("tiny:causal", experiment, run, 64, 256)
    files = {"train": config.train, "dev": config.dev, "test": config.test}
    return {
        split: {len(json.loads(line)["text"].split()) for line in Path(str(file)).read_text().splitlines()}
        for split, file in files.items()
    }


def test_documents_of_all_lengths(tmp_path: Path) -> None:
    assert lengths_of(tmp_path, LanguageModeling()) == {split: {64, 128, 256} for split in ("train", "dev", "test")}


def test_pose_trains_on_short_documents_and_is_chosen_by_long_ones(tmp_path: Path) -> None:
    found = lengths_of(tmp_path, LanguageModeling(pose=True))
    assert found == {"train": {64}, "dev": {64, 128, 256}, "test": {64, 128, 256}}
