"""What a run leaves behind: the saved tagger with its card, the record, the report."""

from typing import Any

from benchmarks.paper import card, closing_sections, data_facts, score_sections, training_sections, verdict_section
from benchmarks.table import label
from classify.spans.config import TokensExperiment
from classify.spans.load import TaggedData
from classify.spans.prove import Proof
from classify.spans.scored import PREDICTIONS, mistakes, per_type, save_predictions
from classify.spans.trainer import Trained
from finewise.device import describe
from finewise.record import rows
from finewise.references import model_reference
from finewise.report import page, table
from finewise.run import MODEL, REPORT, Run


def save_model(trained: Trained, proof: Proof, data: TaggedData, experiment: TokensExperiment, run: Run) -> None:
    """Save the tagger in transformers' own format with its card; whole or not at all."""
    with run.whole_folder(MODEL) as part:
        trained.model.save_pretrained(part)
        trained.tokenizer.save_pretrained(part)
        (part / "README.md").write_text(model_card(trained, proof, data, experiment), encoding="utf-8")


def write_record(
    trained: Trained, proof: Proof, data: TaggedData, experiment: TokensExperiment, run: Run
) -> dict[str, Any]:
    """Write what each system found, the report and, last of all, record.json; return the record."""
    device = str(trained.model.device)
    save_predictions(run.dir / PREDICTIONS, proof.results)
    return run.finish(
        {
            "device": describe(device, trained.bf16),
            "seed": experiment.seed,
            "model": {
                "name": experiment.model.name,
                "max_seq_length": trained.tokenizer.model_max_length,
                "saved": MODEL,
                "loss": "cross_entropy",
                "class_weights": experiment.class_weights,
            },
            "data": {
                "name": experiment.data.name,
                "revision": data.revision,
                "rows": data.rows,
                "kind": "tokens",
                "labels": len(data.types),
                "audit": data.report.summary(),
                "windows": {split: found.ledger() for split, found in trained.windows.items()},
            },
            "scores": rows([*proof.scores, *proof.on_dev]),
            "comparisons": rows(proof.comparisons),
            "types": per_type(proof.results[0]),
            "cost": {**trained.outcome.cost(device), "baseline_seconds": dict(proof.seconds)},
            "selection": trained.outcome.choice(experiment.selection.metric, data.dev.revision, run.test_reads),
        },
        report=lambda record: _report(record, proof, experiment, run),
    )


def model_card(trained: Trained, proof: Proof, data: TaggedData, experiment: TokensExperiment) -> str:
    """Return the model's README.md: how to use it, scores beside baselines, data, settings, limits."""
    base, outcome, optim = experiment.model.name, trained.outcome, experiment.optim
    limit = trained.tokenizer.model_max_length
    strategy = "simple" if experiment.windows.pieces == "all" else "first"
    front = {
        "library_name": "transformers",
        "pipeline_tag": "token-classification",
        "tags": ["token-classification", "finewise"],
        **({"base_model": hub_id} if isinstance(hub_id := model_reference(base), str) else {}),
    }
    usage = f"""```python
from transformers import pipeline

find = pipeline("token-classification", "path/to/this/folder", aggregation_strategy="{strategy}")
find("...")
```

Types of spans: {", ".join(data.types)}. It reads {limit} tokens at a time; give `stride={limit // 4}` to the pipeline for
longer texts, which it then reads in overlapping windows as the training did.
"""
    long = "\n".join(
        f"- {split}: {found.long} of {found.texts} texts are longer than {limit} tokens and were read in overlapping windows; "
        f"{found.lost} words have no token of their own"
        for split, found in trained.windows.items()
        if found.long or found.lost
    )
    facts = "\n\n".join(
        part
        for part in (
            data_facts(experiment.data.name, data.rows, data.revision, data.report),
            "\n".join(f"- {remark}" for remark in data.report.remarks),
            long,
        )
        if part
    )
    limits = """A span counts as found when its type and both of its ends are right. Each token is judged by itself: nothing
keeps an end from contradicting a beginning. The scores hold for texts like the test set above."""
    return card(
        front,
        f"{experiment.name}: {base} finding spans of {experiment.data.name}",
        usage,
        proof.scores,
        proof.comparisons,
        [
            ("Data", facts),
            (
                "Training",
                f"Cross entropy (class weights: {experiment.class_weights}), labels on "
                f"{'all pieces of a word' if strategy == 'simple' else 'the first piece of a word'}, {outcome.best_step} of "
                f"{outcome.steps} steps (dev chose by {label(experiment.selection.metric)}), batch size {optim.batch_size}, "
                f"learning rate {optim.learning_rate:g}, seed {experiment.seed}.\nEvery setting is in the run's config.yaml.",
            ),
            ("Limits", limits),
        ],
    )


def _report(record: dict[str, Any], proof: Proof, experiment: TokensExperiment, run: Run) -> None:
    windows = [{"split": split, **found} for split, found in record["data"]["windows"].items()]
    sections = [
        verdict_section(record),
        *score_sections(record),
        ("Types", table(record["types"])),
        ("Mistakes (some are mistakes of the labels)", table(mistakes(proof.results[0], experiment.scoring.mistakes))),
        *training_sections(record, run),
        ("Long texts", table(windows)),
        *closing_sections(record, run),
    ]
    (run.dir / REPORT).write_text(page(f"{run.name} on {record['data']['name']}", sections), encoding="utf-8")
