"""What a run leaves behind: the saved model with its card, the record, the report, the table on the screen."""

import json
import shutil
from dataclasses import asdict
from html import escape
from typing import Any

from benchmarks.retrieval import PER_QUERY_FILE, save_per_query
from benchmarks.table import label, score_markdown, verdicts
from embed.config import LOSSES, EmbedExperiment
from embed.data import EmbedData
from embed.negatives import Plan
from embed.prove import Proof
from embed.result import MODEL, REPORT
from finewise.config import DEV_KEY
from finewise.device import describe, peak_memory, use_bf16
from finewise.encoder import Encoder, dimension
from finewise.fit import JOURNAL, Outcome
from finewise.record import rows
from finewise.references import model_reference
from finewise.report import curve, page, preformatted, table
from finewise.run import Run


def save_model(
    model: Encoder, data: EmbedData, outcome: Outcome, proof: Proof, experiment: EmbedExperiment, run: Run
) -> None:
    """Save the model in the library's own format, with its card. Written aside and renamed: it is whole or not there."""
    final, part = run.dir / MODEL, run.dir / f"{MODEL}.part"
    for folder in (final, part):
        if folder.exists():
            shutil.rmtree(folder)
    model.save_pretrained(str(part), create_model_card=False)
    (part / "README.md").write_text(model_card(model, data, outcome, proof, experiment), encoding="utf-8")
    part.rename(final)


def write_record(
    model: Encoder,
    data: EmbedData,
    before: float,
    outcome: Outcome,
    plan: Plan | None,
    proof: Proof,
    experiment: EmbedExperiment,
    run: Run,
) -> dict[str, Any]:
    """Write the per-query values, the report and, last of all, record.json; return the record."""
    device = str(model.device)
    save_per_query(run.dir / PER_QUERY_FILE, proof.results)
    return run.finish(
        {
            "device": describe(device, use_bf16(experiment.run.precision, device)),
            "seed": experiment.seed,
            "model": {"name": experiment.model.name, "max_seq_length": model.max_seq_length, "saved": MODEL},
            "data": {
                "name": experiment.data.name,
                "revision": data.revision,
                "rows": data.rows,
                "batches": asdict(plan) if plan else None,
                "audit": data.report.summary(),
            },
            "scores": rows(proof.scores),
            "comparisons": rows(proof.comparisons),
            "cost": {
                "texts": outcome.seen.texts,
                "tokens": outcome.seen.tokens,
                "step_seconds": round(outcome.seen.seconds, 3),
                "tokens_per_second": round(outcome.seen.tokens / max(outcome.seen.seconds, 1e-9), 1),
                "peak_memory_bytes": peak_memory(device),
            },
            "selection": {
                "split": "dev",
                "metric": experiment.selection.metric,
                "dev_revision": data.dev.revision,
                "untuned": before,
                "best": outcome.best_score,
                "best_step": outcome.best_step,
                "steps": outcome.steps,
                "evaluations": outcome.evaluations,
                "stopped_early": outcome.stopped_early,
                "test_reads": run.test_reads,
            },
        },
        report=lambda record: _report(record, proof, experiment, run),
    )


def model_card(model: Encoder, data: EmbedData, outcome: Outcome, proof: Proof, experiment: EmbedExperiment) -> str:
    """Return the model's README.md: how to use it, scores beside baselines, data, settings, limits."""
    headline = experiment.scoring.metrics[0]
    loss = next(name for name, kind in LOSSES.items() if type(experiment.loss) is kind)
    optim = experiment.optim
    dims = (
        f" Trained to be cut to {', '.join(map(str, experiment.matryoshka.dims))} dimensions."
        if experiment.matryoshka.dims
        else ""
    )
    base = experiment.model.name
    front = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "finewise"],
        **({"base_model": hub_id} if isinstance(hub_id := model_reference(base), str) else {}),
    }
    cut = "\n".join(
        f"- {row.split} {row.column}: {row.over} of {row.texts} texts ({row.share:.1%}) are longer than the limit and cut"
        for row in data.report.truncation
        if row.over
    )
    findings = "\n".join(
        f"- {item.severity}: {item.count} of {item.of} {item.message}" for item in data.report.findings
    )
    return f"""---
{chr(10).join(f"{key}: {json.dumps(value)}" for key, value in front.items())}
---

# {experiment.name}: {base} fine-tuned on {experiment.data.name}

{chr(10).join(f"- {sentence}" for sentence in verdicts(proof.comparisons, headline))}

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["..."])
documents = model.encode_document(["..."])
scores = model.similarity(queries, documents)
```

Embeddings of {dimension(model)} dimensions, compared by cosine. Texts are cut at {model.max_seq_length} tokens.{dims}

## Scores

{score_markdown(proof.scores, proof.comparisons, headline)}

In brackets 95% bootstrap intervals over queries; p from a paired randomisation test. The checkpoint was chosen on dev
by {label(experiment.selection.metric)}; test was read after that.

## Data

{experiment.data.name}: {", ".join(f"{count} {split}" for split, count in data.rows.items())}; revision `{data.revision[:16]}`.

{findings or "The audit found nothing."}

{cut}

## Training

Loss {loss}, {outcome.best_step} of {outcome.steps} steps (dev chose), batch {optim.batch_size},
learning rate {optim.learning_rate:g}, seed {experiment.seed}.
Every setting is in the run's config.yaml.

## Limits

The scores hold for data like the test set above. Before using the model elsewhere, score it there:
`python -m benchmarks.score model.name=THIS_FOLDER benchmark=files benchmark.path=YOUR_BEIR_FOLDER`. What the model knew before
may be weaker now; that was not measured in this run unless a benchmark above says so.
"""


def _report(record: dict[str, Any], proof: Proof, experiment: EmbedExperiment, run: Run) -> None:
    headline = experiment.scoring.metrics[0]
    sentences = "".join(
        f'<p class="verdict">{escape(sentence)}</p>' for sentence in verdicts(proof.comparisons, headline)
    )
    metric = experiment.selection.metric
    audit = record["data"]["audit"]
    findings = [
        {key: item[key] for key in ("severity", "split", "kind", "count", "of", "message")}
        for item in audit["findings"]
    ]
    sections = [
        ("Verdict", sentences),
        ("Scores", table(record["scores"])),
        ("Comparisons (a minus b)", table(record["comparisons"])),
        ("Training", curve(run.dir / JOURNAL, DEV_KEY.format(metric=metric), label(metric))),
        ("Choice of the checkpoint", table([record["selection"]])),
        ("Data", table([{"split": split, "rows": count} for split, count in record["data"]["rows"].items()])),
        ("Audit", table(findings)),
        ("Truncation", table(audit["truncation"])),
        ("Cost", table([{"stage": stage, "seconds": value} for stage, value in record["cost"]["seconds"].items()])),
        ("Versions", table([{"library": name, "version": version} for name, version in record["versions"].items()])),
        ("Settings", preformatted((run.dir / "config.yaml").read_text(encoding="utf-8"))),
    ]
    (run.dir / REPORT).write_text(page(f"{run.name} on {record['data']['name']}", sections), encoding="utf-8")
