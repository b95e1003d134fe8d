"""data.train=tiny: rows in the made-up language, written for a run."""

from dataclasses import replace

from benchmarks.by_length import doublings
from finewise.run import Run
from longctx.config import LanguageModeling, LongContextExperiment, LongDataConfig

TINY = "tiny"
"""What data.train is called."""

ROWS = 4096
HELD_OUT = 128


def tiny_rows(kind: str, experiment: LongContextExperiment, run: Run, original: int, target: int) -> LongDataConfig:
    """Write training and held-out rows into the run's folder, and return the settings that name them.

    Args:
        kind: "tiny:causal" or "tiny:embedding".
        experiment: `data.max_train_rows` says how many rows; the seed samples those for training, `data.split_seed` the others.
        run: Of one seed.
        original: L; half of the rows are as long, with PoSE all that are trained on.
        target: L', the longest of the others.
    """
    from longctx.tiny.data import write_rows

    config, objective = experiment.data, experiment.objective
    files: dict[str, str] = {}
    lengths = doublings(original, target)[1:] or [original]
    documents = isinstance(objective, LanguageModeling)
    # Cut into rows of the trained window, a longer document would lose what its questions ask for.
    short = isinstance(objective, LanguageModeling) and objective.pose
    for number, (split, rows) in enumerate(
        (("train", config.max_train_rows or ROWS), ("dev", HELD_OUT), ("test", HELD_OUT))
    ):
        folder = run.inside(f"data-{target}/{split}").dir
        long = [original] if short and split == "train" else lengths
        # Every training run reads the same held-out rows: only so can their results be joined.
        seed = 3 * (experiment.seed if split == "train" else config.split_seed) + number
        files[split] = str(write_rows(kind, folder, long, rows, seed, documents=documents, split=split))
    return replace(config, train=files["train"], dev=files["dev"], test=files["test"])
