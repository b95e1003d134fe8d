"""Entry point: label the texts of a file. `python -m classify.predict model=FOLDER data=texts.csv output=labels.csv`."""

from classify.predict_config import PredictConfig
from finewise.console import progress, say
from finewise.errors import InputError
from finewise.processes import refuse_several
from finewise.references import expanded
from finewise.settings import entry


@entry("predict", PredictConfig, description="label the texts of a file with a trained classifier")
def main(config: PredictConfig) -> float | None:
    """Write the rows of `data` with their labels to `output`; with score=true return the accuracy (or exact match)."""
    refuse_several("classify.predict")

    import pyarrow as pa

    from classify.agreement import Agreement
    from classify.saved import read_decisions, read_space
    from classify.table import Texts, check_delimiter, check_output, written
    from finewise.references import check_model_folder

    folder = check_model_folder(expanded(config.model.folder), config.model.folder)
    space = read_space(folder)
    decisions = read_decisions(folder, space)
    if config.level is not None:
        decisions.check_level(config.level)
    texts = Texts(config.data.file, config.text)
    path = check_output(config.output, texts.path)
    if decisions.multi or config.level is not None:
        check_delimiter(path, config.delimiter, decisions.names)
    kinds = {
        "predicted": pa.list_(pa.string()) if decisions.multi else pa.string(),
        "probability": pa.list_(pa.float64()) if decisions.multi else pa.float64(),
        "abstained": pa.bool_(),
    } | ({} if config.level is None else {"set": pa.list_(pa.string())})
    new = {config.prefix + name: kind for name, kind in kinds.items()}
    score = Agreement(config, texts, decisions.names, decisions.multi) if config.score else None
    rows = empty = 0
    for chunk in texts.chunks():  # whatever is wrong with a row is found before hours of work
        texts.check_writable(chunk, path)
        rows += len(chunk.texts)
        empty += sum(not text.strip() for text in chunk.texts)
        if score is not None:
            score.read(chunk)
    if taken := [name for name in new if name in texts.columns()]:
        raise InputError(f"{config.data.file} has a column '{taken[0]}' already; set prefix=model_ or another")

    if empty:
        say(
            f"note: {empty} of {rows} rows of {config.data.file} have no text (empty or null); they are kept, "
            "and labelled as empty texts"
        )

    from classify.predictor import Predictor

    predictor = Predictor.load(
        folder,
        device=config.device,
        precision=config.precision,
        execution=config.execution,
        trust_remote_code=config.trust_remote_code,
    )
    undecided = 0
    with (
        written(path, texts.columns(), new, texts, config.delimiter) as write,
        progress("predict", rows) as advance,
    ):
        for chunk in texts.chunks():
            answers = predictor.answers(chunk.texts, config.level, advance)
            if score is not None:
                score.add(chunk, answers)
            undecided += int(answers.abstained.sum())
            write(chunk, {config.prefix + name: values for name, values in answers.columns().items()})
    say(f"written: {path} ({rows} rows, {undecided} of them undecided)")
    return None if score is None else score.show()


if __name__ == "__main__":
    main()
