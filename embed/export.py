"""What a run leaves behind: the saved model with its card, the record, the report."""

from dataclasses import asdict
from typing import Any

from benchmarks.paper import card, closing_sections, data_facts, score_sections, training_sections, verdict_section
from benchmarks.retrieval import PER_QUERY_FILE, save_per_query
from benchmarks.table import label
from embed.config import EmbedExperiment
from embed.data import EmbedData
from embed.prove import Proof
from finewise.contrastive.config import LOSSES
from finewise.contrastive.negatives import Plan
from finewise.curves.worth import Worth
from finewise.device import describe, use_bf16
from finewise.encoder import Encoder, dimension
from finewise.fit import Outcome
from finewise.record import Score, rows
from finewise.references import model_reference
from finewise.report import page
from finewise.run import MODEL, REPORT, Run
from finewise.vectors import vectors_of

SIMILARITY = {
    "cosine": "cosine",
    "dot": "dot product",
    "euclidean": "Euclidean distance",
    "manhattan": "Manhattan distance",
}


def save_model(
    model: Encoder, data: EmbedData, outcome: Outcome, proof: Proof, experiment: EmbedExperiment, run: Run
) -> None:
    """Save the model in the library's own format, with its card. Written aside and renamed: it is whole or not there."""
    with run.whole_folder(MODEL) as part:
        model.save_pretrained(str(part), create_model_card=False)
        (part / "README.md").write_text(model_card(model, data, outcome, proof, experiment), encoding="utf-8")


def write_record(
    model: Encoder,
    data: EmbedData,
    on_dev: list[Score],
    outcome: Outcome,
    plan: Plan | None,
    proof: Proof,
    worth: Worth | None,
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
            "model": {"name": experiment.model.name, **vectors_of(model), "saved": MODEL},
            "data": {
                "name": experiment.data.name,
                "revision": data.revision,
                "rows": data.rows,
                "batches": asdict(plan) if plan else None,
                "audit": data.report.summary(),
            },
            "scores": rows([*proof.scores, *on_dev]),
            "comparisons": rows(proof.comparisons),
            "baselines": proof.baselines,
            "words": [worth.said.text] if worth else [],
            "curve": worth.summary() if worth else None,
            "cost": outcome.cost(device),
            "selection": {
                **outcome.choice(experiment.selection.metric, data.dev.revision, run.test_reads),
                "untuned": next(score.value for score in on_dev if score.system == "untuned"),
            },
        },
        report=lambda record: _report(record, worth, run),
    )


def model_card(model: Encoder, data: EmbedData, outcome: Outcome, proof: Proof, experiment: EmbedExperiment) -> str:
    """Return the model's README.md: how to use it, scores beside baselines, data, settings, limits."""
    loss = next(name for name, kind in LOSSES.items() if type(experiment.loss) is kind)
    optim, base = experiment.optim, experiment.model.name
    cut = (
        f" Trained to be cut to {', '.join(map(str, experiment.matryoshka.dims))} dimensions."
        if experiment.matryoshka.dims
        else ""
    )
    front = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "finewise"],
        **({"base_model": hub_id} if isinstance(hub_id := model_reference(base), str) else {}),
    }
    tokens = model.max_seq_length
    limit = f"Texts are cut at {tokens} tokens." if tokens else "Texts are read whole, however long."
    usage = f"""```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["..."])
documents = model.encode_document(["..."])
scores = model.similarity(queries, documents)
```

Embeddings of {dimension(model)} dimensions, compared by {SIMILARITY[model.similarity_fn_name]}. {limit}{cut}
"""
    chosen_by = label(experiment.selection.metric)
    training = f"""Loss {loss}, {outcome.best_step} of {outcome.steps} steps (dev chose by {chosen_by}), batch size
{optim.batch_size}, learning rate {optim.learning_rate:g}, seed {experiment.seed}.
Every setting is in the run's config.yaml."""
    limits = """The scores hold for data like the test set above. Before using the model elsewhere, score it there:
`python -m benchmarks.score model.name=THIS_FOLDER benchmark=files benchmark.path=YOUR_BEIR_FOLDER`. What the model knew before
may be weaker now; that was not measured in this run unless a benchmark above says so."""
    return card(
        front,
        f"{experiment.name}: {base} fine-tuned on {experiment.data.name}",
        usage,
        proof.scores,
        proof.comparisons,
        [
            ("Data", data_facts(experiment.data.name, data.rows, data.revision, data.report)),
            ("Training", training),
            ("Limits", limits),
        ],
    )


def _report(record: dict[str, Any], worth: Worth | None, run: Run) -> None:
    sections = [
        verdict_section(record),
        *score_sections(record),
        *([("Is it worth it?", worth.svg())] if worth else []),
        *training_sections(record, run),
        *closing_sections(record, run),
    ]
    (run.dir / REPORT).write_text(page(f"{run.name} on {record['data']['name']}", sections), encoding="utf-8")
