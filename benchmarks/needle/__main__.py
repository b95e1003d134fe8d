"""Where a language model still finds what it was told: `python -m benchmarks.needle model.name=... needle.tasks=[ruler]`."""

from pathlib import Path
from typing import Any

from benchmarks.needle.config import NeedleRunConfig
from finewise.processes import refuse_several
from finewise.settings import entry


@entry("needle", NeedleRunConfig, description="where in a long text a language model still finds what it was told")
def main(config: NeedleRunConfig) -> float:
    """Read the grid; print the table, write the record and the report, return the mean over tasks at the longest length."""
    refuse_several("benchmarks.needle")
    reference = check_settings(config)
    from benchmarks import by_length
    from finewise.references import content_of
    from finewise.run import Run

    with Run.open("needle", config, name="+".join(config.needle.tasks), resume=config.resume) as run:
        run.pin("model", content_of(reference))
        if run.finished is not None:
            return show(config, run, by_length.load(run.dir / by_length.FILE))
        with run.stage("model"):
            from benchmarks.needle.memory import check_memory
            from benchmarks.needle.run import needle
            from benchmarks.needle.show import with_average

            reader, facts = load(config)
            about = facts["model"]
            lengths = sorted(set(config.needle.lengths or by_length.doublings(about["original"], about["window"])))
            for length in lengths:
                check_memory(reader.model_at(length), length, bf16=reader.bf16)
        with run.stage("read"):
            kept = run.dir / "answers.jsonl"
            found = needle(reader, config.model.name, lengths, config.needle, seed=config.seed, keep=kept)
        results = with_average(found)
        write(run, results, facts, config)
        return show(config, run, results)


def show(config: NeedleRunConfig, run: Any, results: Any) -> float:
    """Print the table; return the mean over tasks at the longest length."""
    from benchmarks.needle.show import table
    from finewise import record
    from finewise.console import out

    original = record.read(run.dir / record.FILE)["model"]["original"]
    out.print(table(results, original))
    out.print(f"record, report and pictures: {run.dir}", markup=False, soft_wrap=True)
    return float(sum(result.mean(result.read()[-1]) for result in results) / len(results))


def check_settings(config: NeedleRunConfig) -> Path | str:
    """Refuse a model that is not there, before anything slow is imported; return where it is."""
    from finewise.references import check_hub, model_reference

    reference = model_reference(config.model.name, config.model.revision, gguf=True)
    if isinstance(reference, str):
        check_hub(reference, config.model.revision)
    return reference


def load(config: NeedleRunConfig) -> tuple[Any, dict[str, Any]]:
    """Return the reader, and what the record says of model, device and way of answering."""
    import torch

    from benchmarks.needle.reader import Reader
    from finewise.causal import load_causal, stated_window, trained_window
    from finewise.device import describe, pick_device, use_bf16

    device = pick_device(config.run.device)
    bf16 = use_bf16(config.run.precision, device)
    # On a GPU the weights themselves are bf16; a processor computes in bf16 from fp32 weights.
    halved = bf16 and torch.device(device).type == "cuda"
    model, tokenizer = load_causal(config.model, device, dtype=torch.bfloat16 if halved else torch.float32)
    text: Any = model.config.get_text_config(decoder=True)
    window = stated_window(model.config)
    rope = getattr(text, "rope_parameters", None) or {}
    reader = Reader(lambda length: model, tokenizer, config.needle, bf16=bf16)
    return reader, {
        "model": {
            "name": config.model.name,
            "revision": config.model.revision,
            "original": trained_window(model.config),
            "window": window,
            "rope": {key: value for key, value in rope.items() if isinstance(value, (str, int, float, dict))},
        },
        "answer": {"way": reader.way, "chat_template": reader.chat},
        "device": {**describe(device, bf16), "weights": str(model.dtype).removeprefix("torch.")},
    }


def write(run: Any, results: Any, facts: dict[str, Any], config: NeedleRunConfig) -> None:
    """Write examples, pictures, report and record."""
    import numpy as np

    from benchmarks import by_length
    from benchmarks.length_plots import heatmap
    from benchmarks.length_plots import write as write_picture
    from benchmarks.needle.show import reach, sections
    from finewise import record, report

    original = facts["model"]["original"]
    by_length.save(run.dir / by_length.FILE, results)
    scores = [score for result in results for score in by_length.scores(result)]
    for result in results:
        if not np.isnan(result.depths).all():
            write_picture(run.dir / "pictures", result.benchmark, heatmap(result, original=original))
    rows = record.rows(scores)

    def page(whole: dict[str, Any]) -> None:
        shown = [{key: row[key] for key in ("benchmark", "metric", "value", "low", "high", "n")} for row in rows]
        told = [("Model", report.table([{key: str(value) for key, value in facts["model"].items()}]))]
        text = report.page(
            f"Needle: {config.model.name}",
            [
                *told,
                *sections(results, original),
                ("Scores", report.table(shown)),
                ("Command", report.preformatted(str(whole["command"]))),
            ],
        )
        (run.dir / "report.html").write_text(text, encoding="utf-8")

    run.finish(
        {
            "seed": config.seed,
            **facts,
            "data": {result.benchmark: result.data_revision for result in results},
            "effective_length": {result.benchmark: reach(result, original) for result in results},
            "scores": rows,
            "comparisons": [],
        },
        page,
    )


if __name__ == "__main__":
    main()
