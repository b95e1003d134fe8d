"""What a run leaves behind: the saved classifier with its decisions and card, the record, the report."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from html import escape
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from benchmarks.classification import PER_EXAMPLE_FILE, Classified, confusion_svg, mistakes, per_class, save_per_example
from benchmarks.paper import card, closing_sections, data_facts, score_sections, training_sections, verdict_section
from benchmarks.table import label
from classify.config import METHODS, ClassifyExperiment
from classify.decide import Decisions
from classify.distil_config import SoftLabelsConfig
from classify.losses_config import LOSSES, loss_for
from classify.neighbours import NeighboursForSequenceClassification
from classify.onnx import export_onnx
from classify.pooled import PooledForSequenceClassification
from classify.prove import Proof, unlike, words
from classify.reading import FIELD, Reader
from classify.stack import PART
from classify.static import StaticForSequenceClassification
from classify.ways import Trained
from finewise.console import say
from finewise.curves.worth import Worth
from finewise.data.exported import write_rows
from finewise.data.labels.load import LabelledData
from finewise.data.labels.rows import Labelled
from finewise.device import describe
from finewise.errors import InputError
from finewise.record import rows
from finewise.references import model_reference
from finewise.report import page, table
from finewise.run import MODEL, REPORT, Run

STORED = """The folder holds an embedding of each stored training text, from which much of the text can be guessed (Morris et
al. 2023, arXiv 2310.06816): share it with those who may read the texts."""
"""What the card of a method=knn model says of privacy."""


VOCABULARY = (
    """stack.json lists words and pairs of words of the training texts: share it with those who may read them."""
)
"""What the card of a method=stack model says of privacy."""


def save_model(
    trained: Trained, decisions: Decisions, proof: Proof, data: LabelledData, experiment: ClassifyExperiment, run: Run
) -> None:
    """Save the classifier in transformers' own format, with decisions.json and its card; whole or not at all."""
    with run.whole_folder(MODEL) as part:
        trained.model.save_pretrained(part)
        trained.tokenizer.save_pretrained(part)
        decisions.save(part)
        if trained.stacked is not None:
            trained.stacked.stack.save(part)
        if experiment.onnx:
            own_code = code_file(trained.model)
            file = part / "model.onnx"
            try:
                far = export_onnx(part, file, list(data.dev.texts[:32]), trust_remote_code=bool(own_code))
                say(f"model.onnx: its logits differ from the model's by {far:.1g} at most")
            except InputError as error:  # what was trained for hours is kept
                file.unlink(missing_ok=True)
                say(f"warning: the model is saved without model.onnx: {error}")
        (part / "README.md").write_text(model_card(trained, proof, data, experiment), encoding="utf-8")


def write_record(
    trained: Trained, proof: Proof, worth: Worth | None, data: LabelledData, experiment: ClassifyExperiment, run: Run
) -> dict[str, Any]:
    """Write the per-example results, the report and, last of all, record.json; return the record."""
    device = str(trained.model.device)
    save_per_example(run.dir / PER_EXAMPLE_FILE, proof.results)
    if experiment.scoring.export:
        write_rows(run.dir, "test", scored_rows(data.test, proof.results))
    return run.finish(
        {
            "device": describe(device, trained.bf16),
            "seed": experiment.seed,
            "model": {
                "name": experiment.model.name,
                "max_seq_length": trained.tokenizer.model_max_length,
                "reading": getattr(trained.model.config, FIELD, {"how": "head"}),
                "prompt": getattr(trained.model.config, "prompt", ""),
                "saved": MODEL,
                "code": code_file(trained.model),
                "method": _name(METHODS, experiment.method),
                **_voters(trained.model),
                **({"stack": trained.stacked.summary()} if trained.stacked else {}),
                **({"candidates": [asdict(one) for one in trained.candidates]} if trained.candidates else {}),
                "loss": _name(LOSSES, loss_for(experiment.loss, data.space.kind)) if experiment.method.trains else None,
            },
            "data": {
                "name": experiment.data.name,
                "revision": data.revision,
                "rows": data.rows,
                "kind": data.space.kind,
                "labels": len(data.space.names),
                "audit": data.report.summary(),
            },
            "scores": rows([*proof.scores, *proof.on_dev]),
            "comparisons": rows(proof.comparisons),
            "baselines": proof.baselines,
            "decisions": proof.decisions,
            "words": [
                *words(proof.decisions, data.space.kind),
                *unlike(experiment, len(data.train)),
                *chosen(trained, experiment),
                *([worth.said.text] if worth else []),
            ],
            "curve": worth.summary() if worth else None,
            "classes": per_class(proof.results[0]),
            "slices": proof.slices,
            "cost": {**trained.outcome.cost(device), "baseline_seconds": proof.seconds},
            "selection": trained.outcome.choice(experiment.selection.metric, data.dev.revision, run.test_reads),
        },
        report=lambda record: _report(record, proof, worth, data, experiment, run),
    )


def scored_rows(test: Labelled, results: Sequence[Classified]) -> Iterator[dict[str, Any]]:
    """Yield each test row with its labels, and what every system predicted with which probabilities."""
    names = test.space.names

    def shown(labels: Any) -> Any:
        return [name for name, has in zip(names, labels, strict=True) if has] if np.ndim(labels) else names[int(labels)]

    for row in range(len(test)):
        yield {
            "number": int(test.numbers[row]),
            "text": test.texts[row],
            "gold": shown(test.labels[row]),
            **{
                one.system: {
                    "predicted": shown(one.predicted[row]),
                    "probabilities": dict(zip(names, map(float, one.probabilities[row]), strict=True)),
                }
                for one in results
            },
        }


def chosen(trained: Trained, experiment: ClassifyExperiment) -> list[str]:
    """Return in a sentence what method=auto chose from; nothing for another method."""
    if not trained.candidates:
        return []
    tried = ", ".join(f"{one.name} {one.dev:.3f}" for one in trained.candidates)
    return [
        f"method=auto chose {_name(METHODS, experiment.method)} on dev ({label(experiment.selection.metric)}: {tried}); "
        "the dev score of the best of several is a little too good"
    ]


def model_card(trained: Trained, proof: Proof, data: LabelledData, experiment: ClassifyExperiment) -> str:
    """Return the model's README.md: how to use it, scores beside baselines, decisions, data, settings, limits."""
    outcome, optim = trained.outcome, experiment.optim
    # A student is made of its teacher.
    base = experiment.method.teacher if isinstance(experiment.method, SoftLabelsConfig) else experiment.model.name
    method = _name(METHODS, experiment.method)
    front = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["text-classification", "finewise"],
        **({"base_model": hub_id} if isinstance(hub_id := model_reference(base), str) else {}),
    }
    own_code = code_file(trained.model)
    trust = ", trust_remote_code=True" if own_code else ""
    multi = data.space.kind == "multi"
    every = ", top_k=None" if multi else ""
    prompt = getattr(trained.model.config, "prompt", "")
    example = f'{prompt!r} + "..."' if prompt else '"..."'
    before = (
        f"The model reads {prompt!r} before every text: finewise puts it there, the pipeline and model.onnx do not. "
        if prompt
        else ""
    )
    usage = f"""```python
from transformers import pipeline

classify = pipeline("text-classification", "path/to/this/folder"{trust}{every})
classify([{example}], truncation=True)
```

{f"The folder brings its own short code, {own_code}. " if own_code else ""}{before}{_alone(trained)}These are the
model's own probabilities, not calibrated. Calibrated ones, tuned thresholds, abstention and conformal sets are in
decisions.json, which finewise applies:

```python
from classify.predictor import Predictor

Predictor.load("path/to/this/folder").predict(["..."])
```

{len(data.space.names)} labels ({data.space.kind}). {_reading(trained)}
"""
    trained_how = (
        f"Method {method}, loss {_name(LOSSES, loss_for(experiment.loss, data.space.kind))}, {outcome.best_step} of "
        f"{outcome.steps} steps (dev chose by {label(experiment.selection.metric)}), batch size {optim.batch_size}, learning "
        f"rate {optim.learning_rate:g}, seed {experiment.seed}."
        if experiment.method.trains
        else f"Method {method}: the encoder is untouched, {_frozen(trained.model)}. Seed {experiment.seed}."
    )
    limits = """The scores hold for texts like the test set above. Labels that are rare there have wide intervals of their own;
see the table of classes in the run's report. A text that belongs to none of the labels gets one all the same, unless abstention
was asked for."""
    private = [STORED] if isinstance(trained.model, NeighboursForSequenceClassification) else []
    if trained.stacked is not None:
        private.append(VOCABULARY)
    return card(
        front,
        f"{experiment.name}: {base} as a classifier of {experiment.data.name}",
        usage,
        proof.scores,
        proof.comparisons,
        [
            ("Decisions", "\n".join(f"- {sentence}" for sentence in words(proof.decisions, data.space.kind))),
            ("Data", data_facts(experiment.data.name, data.rows, data.revision, data.report)),
            (
                "Training",
                "\n".join([trained_how, *chosen(trained, experiment), "Every setting is in the run's config.yaml."]),
            ),
            ("Limits", "\n\n".join((limits, *private, *unlike(experiment, len(data.train))))),
        ],
    )


def _alone(trained: Trained) -> str:
    """Say what transformers loads of a stack; nothing for another classifier."""
    if trained.stacked is None:
        return ""
    weights = trained.stacked.summary()["weights"]
    return (
        f"This is the classifier without TF-IDF (the row {PART} of the scores). What was scored also has "
        f"TF-IDF with logistic regression, in stack.json and stack.safetensors (weights {weights[PART]:.2f} and "
        f"{weights['tfidf_lr']:.2f}); the predictor below applies both. "
    )


def _frozen(model: PreTrainedModel) -> str:
    """Say what was fitted on an encoder that is untouched."""
    if not isinstance(model, NeighboursForSequenceClassification):
        return "the head was fitted on its embeddings"
    return f"{model.config.rows:,} training rows are stored with their labels, and the {model.config.k} nearest vote"


def _reading(trained: Trained) -> str:
    """Say how long texts are read."""
    limit = trained.tokenizer.model_max_length
    reader = Reader.of(trained.model, trained.tokenizer)
    if reader is None:
        return f"Texts are cut at {limit} tokens."
    config = reader.config
    if config.how == "head_tail":
        (_, head), (tail, end) = reader.spans(limit + 1)
        how = f"Of texts above {limit} tokens, the predictor reads the first {head} and the last {end - tail}"
    else:
        how = (
            f"The predictor reads long texts in windows of {config.window or limit} tokens, at most {config.max_chunks}, and "
            f"pools their logits ({config.pool})"
        )
    return f"{how}; the pipeline reads the first {limit} tokens alone."


def _report(
    record: dict[str, Any],
    proof: Proof,
    worth: Worth | None,
    data: LabelledData,
    experiment: ClassifyExperiment,
    run: Run,
) -> None:
    tuned = proof.results[0]
    wrong = mistakes(tuned, data.test, experiment.scoring.mistakes)
    shown = [{**row, "text": row["text"][:400], "probability": round(row["probability"], 3)} for row in wrong]
    sections = [
        verdict_section(record),
        *score_sections(record),
        *([("Is it worth it?", worth.svg())] if worth else []),
        ("Classes", table(record["classes"])),
        ("Confusions", confusion_svg(tuned)),
        *proof.pictures,
        *((f"By {escape(by)}", table(found)) for by, found in proof.slices.items() if by != "class"),
        ("Most confident mistakes (some are mistakes of the labels)", table(shown)),
        *(training_sections(record, run) if experiment.method.trains else []),
        *closing_sections(record, run),
    ]
    (run.dir / REPORT).write_text(page(f"{run.name} on {record['data']['name']}", sections), encoding="utf-8")


def code_file(model: PreTrainedModel) -> str | None:
    """Return the name of the code that a saved folder brings; None for classes that transformers has itself."""
    if isinstance(model, NeighboursForSequenceClassification):
        return "neighbours.py with pooled.py"
    if isinstance(model, PooledForSequenceClassification):
        return "pooled.py"
    return "static.py" if isinstance(model, StaticForSequenceClassification) else None


def _voters(model: PreTrainedModel) -> dict[str, Any]:
    """Return how many rows of a method=knn model vote, and how many it stores; nothing for another model."""
    if not isinstance(model, NeighboursForSequenceClassification):
        return {}
    return {"neighbours": {"k": model.config.k, "rows": model.config.rows}}


def _name(group: dict[str, Any], config: object) -> str:
    return next(name for name, kind in group.items() if type(config) is kind)
