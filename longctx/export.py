"""What a run leaves behind: results, pictures, the saved model's card, the report, the record."""

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import by_length, length_plots
from benchmarks.paper import card, closing_sections, score_sections, training_sections, verdict_section
from finewise.device import peak_memory
from finewise.record import rows
from finewise.references import HUB, model_reference
from finewise.report import page
from finewise.run import MODEL, REPORT, Run
from longctx.arms import UNTUNED, arms_of, subject_of
from longctx.config import LongContextExperiment
from longctx.positions import by_system
from longctx.prove import Proof
from longctx.rope_config import name_of
from longctx.study import Found
from longctx.tiny.models import is_tiny

PICTURES = "pictures"

NOTHING_READ = {"name": "none", "rows": {}, "audit": {"findings": [], "truncation": []}}
"""What a record says of the training data where there is none."""


def finish(found: Found, proof: Proof, experiment: LongContextExperiment, run: Run) -> dict[str, Any]:
    """Write results, pictures, card, report and, last of all, record.json; return the record."""
    by_length.save(run.dir / by_length.FILE, found.results)
    pictures = draw(found, experiment, run)
    facts, selection = found.facts, experiment.selection
    (run.dir / MODEL / "README.md").write_text(model_card(found, proof, experiment), encoding="utf-8")
    chosen: dict[str, Any] = {"split": "dev", "metric": selection.metric, "best": found.best}
    if found.outcome is not None:
        chosen = found.outcome.choice(selection.metric, facts["data"]["revision"], found.test_reads)
        chosen |= {"best": found.best, "untuned": found.before}
    device = facts["device"]["type"]
    return run.finish(
        {
            "device": facts["device"],
            "seed": experiment.seed,
            "seeds": experiment.seeds,
            "model": {**facts["model"], "embeds": experiment.embeds, "saved": MODEL},
            "data": facts["data"] or NOTHING_READ,
            "rope": {"method": name_of(experiment.rope), "adapted": experiment.adapt, "lengths": facts["lengths"]},
            "scores": rows(proof.scores),
            "comparisons": rows(proof.comparisons),
            "headlines": proof.headlines,
            "effective_length": proof.effective,
            "words": proof.words,
            "cost": found.outcome.cost(device) if found.outcome else {"peak_memory_bytes": peak_memory(device)},
            "selection": chosen,
        },
        report=lambda record: _report(record, pictures, experiment, run),
    )


def draw(found: Found, experiment: LongContextExperiment, run: Run) -> list[tuple[str, str]]:
    """Write the pictures as files, and return (heading, drawing) of each for the report."""
    original, about = found.facts["model"]["original"], subject_of(experiment).title
    titles = {arm.system: arm.title for arm in arms_of(experiment)}
    drawn: list[tuple[str, str, Figure]] = []
    for benchmark in dict.fromkeys(result.benchmark for result in found.results):
        results = [
            replace(one, system=titles.get(one.system, one.system))
            for one in found.results
            if one.benchmark == benchmark
        ]
        figure = length_plots.by_length(
            results, original=original, resamples=experiment.scoring.resamples, seed=experiment.seed
        )
        drawn.append((f"{benchmark} by length", benchmark, figure))
        for result in results:
            if result.system in (about, UNTUNED) and not np.isnan(result.depths).all():
                figure = length_plots.heatmap(result, original=original)
                drawn.append((f"{benchmark}, {result.system}", f"{benchmark}-{result.system}-heatmap", figure))
    seeds = range(experiment.seed, experiment.seed + experiment.seeds)
    if positions := by_system(arms_of(experiment), list(seeds), run):
        figure = length_plots.by_position({titles[one.system]: one.curve for one in positions}, original=original)
        drawn.append(("perplexity by position", "perplexity-by-position", figure))
    for _, name, figure in drawn:
        length_plots.write(run.dir / PICTURES, name, figure)
    return [(heading, length_plots.drawing(figure)) for heading, _, figure in drawn]


def model_card(found: Found, proof: Proof, experiment: LongContextExperiment) -> str:
    """Return the model's README.md: how to use it, how far it reads beside others, what it was adapted on, limits."""
    base, facts = experiment.model.name, found.facts["model"]
    method = name_of(experiment.rope)
    library = "sentence-transformers" if experiment.embeds else "transformers"
    hub_id = None if is_tiny(base) else model_reference(base, gguf=not experiment.embeds)
    front = {
        "library_name": library,
        "pipeline_tag": "sentence-similarity" if experiment.embeds else "text-generation",
        "tags": [library, "long-context", "finewise"],
        **({"base_model": hub_id.removeprefix(HUB)} if isinstance(hub_id, str) else {}),
    }
    code = (
        'from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer("path/to/this/folder")'
        if experiment.embeds
        else "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")\n'
        'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")'
    )
    usage = f"""```python
{code}
```

Rotary positions stretched from {facts["original"]:,} to {facts["target"]:,} tokens by `rope={method}`; they are in config.json
(`rope_parameters`), so that no code but the library's is needed."""
    training = "Not trained: only the positions were changed."
    if found.outcome is not None:
        optim = experiment.optim
        training = f"""Objective {experiment.objective_name}, {found.outcome.best_step} of {found.outcome.steps} steps
(dev chose by {experiment.selection.metric}), batch size {optim.batch_size}, learning rate {optim.learning_rate:g}, seed
{experiment.seed}. Every setting is in the run's config.yaml."""
        if experiment.seeds > 1:
            training += f"\nScores are of {experiment.seeds} seeds together; these are the weights of the first."
    reach = "\n".join(
        f"- {benchmark}, {system}: {far['ruler'] or 'none'} tokens by RULER's rule, {far['nolima'] or 'none'} by NoLiMa's"
        for benchmark, systems in proof.effective.items()
        for system, far in systems.items()
    )
    limits = """Finding a needle does not show that a model can use a long text otherwise; look at the scores at the trained
window too, which tell what stretching cost. They hold for texts like those of the benchmarks above."""
    first = next(iter(proof.headlines))
    return card(
        front,
        f"{experiment.name}: {base} stretched to {facts['target']:,} tokens",
        usage,
        [score for score in proof.scores if score.benchmark == first],
        [row for row in proof.comparisons if row.benchmark == first],
        [("How far it reads", reach), ("Training", training), ("Limits", limits)],
    )


def _report(
    record: dict[str, Any], pictures: list[tuple[str, str]], experiment: LongContextExperiment, run: Run
) -> None:
    part = run.inside(f"seed-{experiment.seed}/{subject_of(experiment).folder}")
    if stages := len(experiment.stages.factors):
        part = part.inside(f"stage-{stages}")  # whose dev chose what is saved
    sections = [
        verdict_section(record),
        *pictures,
        *score_sections(record),
        *(training_sections(record, part) if experiment.adapt else []),
        *closing_sections(record, run),
    ]
    (run.dir / REPORT).write_text(page(f"{run.name}: {record['model']['name']}", sections), encoding="utf-8")
