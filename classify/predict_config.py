"""The settings of `python -m classify.predict`. Imports nothing heavy."""

from dataclasses import dataclass

from finewise.config import MISSING, RunConfig, at_least, setting


@dataclass(slots=True, kw_only=True)
class FolderConfig:
    """A trained classifier; `model=FOLDER` is short for it."""

    folder: str = setting(MISSING, "folder that a classifier was saved into (runs/classify/.../model)")


@dataclass(slots=True, kw_only=True)
class FileConfig:
    """Texts; `data=FILE` is short for it."""

    file: str = setting(MISSING, "the texts: a file (jsonl, csv, tsv, parquet)")


@dataclass(slots=True, kw_only=True)
class PredictConfig:
    """Label the texts of a file with a trained classifier."""

    model: FolderConfig = setting(FolderConfig, "the classifier: model=FOLDER")
    data: FileConfig = setting(FileConfig, "the texts: data=FILE")
    output: str = setting(MISSING, "where the rows go with their labels: a .jsonl, .csv, .tsv or .parquet file")
    text: str = setting("text", "column with the text")
    prefix: str = setting("", "put before the names of the new columns: predicted, probability, abstained, set")
    level: float | None = setting(
        None, "also write the conformal set of this level, such as 0.9, which must be one of those fitted"
    )
    score: bool = setting(False, "also compare with the labels in the column `gold`, and print the scores")
    gold: str = setting("label", "score=true: column with the right label(s)")
    delimiter: str = setting(
        "|", "what separates the labels in one cell of a csv or tsv file, written and (score=true) read"
    )
    device: str = setting("auto", "auto, cpu, cuda or mps")
    precision: str = setting(
        "auto", "autocast: auto is bf16 where the device computes it fast, else fp32", ("auto", "bf16", "fp32")
    )
    execution: str = setting(
        "auto",
        "how a batch is computed, with the same numbers: padded, sorted by length, packed, or what the model can",
        ("auto", "padded", "sorted", "packed"),
    )
    trust_remote_code: bool = setting(False, "run Python code that the model's folder brings")

    def __post_init__(self) -> None:
        RunConfig(device=self.device)
        if self.level is not None:
            at_least("level", self.level, 0)
        if not self.delimiter:
            raise ValueError("delimiter must not be empty")
