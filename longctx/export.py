"""What a run leaves behind: results, pictures, the saved model's card, the report, the record."""

from dataclasses import asdict, replace
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
from longctx.rope_config import SelfExtend, name_of, stretches_nothing
from longctx.self_extend import sizes_of
from longctx.study import Found
from longctx.tiny.models import is_tiny

PICTURES = "pictures"

NOTHING_READ = {"name": "none", "rows": {}, "audit": {"findings": [], "truncation": []}}
"""What a record says of the training data where there is none."""


def finish(found: Found, proof: Proof, experiment: LongContextExperiment, run: Run) -> dict[str, Any]:
    """Write results, pictures, card, report and, last of all, record.json; return the record."""
    by_length.save(run.dir / by_length.FILE, found.results)
    pictures = draw(found, experiment, run)
    facts = found.facts
    # Where nothing is trained nothing is selected: dev is read by what the benchmark itself measures.
    metric = experiment.selection.metric if experiment.adapt else "passkey" if experiment.embeds else "needle"
    (run.dir / MODEL / "README.md").write_text(model_card(found, proof, experiment), encoding="utf-8")
    chosen: dict[str, Any] = {"split": "dev", "metric": metric, "best": found.best}
    if found.outcome is not None:
        chosen = found.outcome.choice(metric, facts["data"]["revision"], found.test_reads)
        chosen |= {"best": found.best, "untuned": found.before}
    device = facts["device"]["type"]
    return run.finish(
        {
            "device": facts["device"],
            "seed": experiment.seed,
            "seeds": experiment.seeds,
            "model": {**facts["model"], "embeds": experiment.embeds, "saved": MODEL},
            "data": facts["data"] or NOTHING_READ,
            "rope": _rope(experiment, facts),
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
        figure = length_plots.by_length(results, original=original)
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
    own = experiment.rope
    reads = isinstance(own, SelfExtend) or stretches_nothing(own, facts["target"] / facts["original"])
    library = "sentence-transformers" if experiment.embeds else "transformers"
    hub_id = None if is_tiny(base) else model_reference(base, gguf=not experiment.embeds)
    front = {
        "library_name": library,
        "pipeline_tag": "sentence-similarity" if experiment.embeds else "text-generation",
        "tags": [library, "long-context", "finewise"],
        **({"base_model": hub_id.removeprefix(HUB)} if isinstance(hub_id, str) else {}),
    }
    training = "Not trained."
    if found.outcome is not None:
        optim, stages = experiment.optim, experiment.stages
        training = f"""Objective {experiment.objective_name}, {found.outcome.best_step} of {found.outcome.steps} steps
(dev chose by {experiment.selection.metric}), batch size {optim.batch_size}, learning rate {optim.learning_rate:g}, seed
{experiment.seed}. Every setting is in the run's config.yaml."""
        if stages.factors:
            windows = ", ".join(f"{round(factor * facts['original']):,}" for factor in stages.factors)
            training += f"\nIn stages of {windows} tokens; the checkpoint is of the last."
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
        f"{experiment.name}: {base} {'read' if reads else 'stretched'} to {facts['target']:,} tokens",
        _usage(experiment, facts),
        [score for score in proof.scores if score.benchmark == first],
        [row for row in proof.comparisons if row.benchmark == first],
        [("How far it reads", reach), ("Training", training), ("Limits", limits)],
    )


def _usage(experiment: LongContextExperiment, facts: dict[str, Any]) -> str:
    """Return how the saved model is opened, and where its positions are."""
    code = ["from sentence_transformers import SentenceTransformer"]
    opened = ['model = SentenceTransformer("path/to/this/folder")']
    if not experiment.embeds:
        code = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
        opened = [
            'model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")',
            'tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")',
        ]
    about = f"""Rotary positions stretched from {facts["original"]:,} to {facts["target"]:,} tokens by
`rope={name_of(experiment.rope)}`; they are in config.json (`rope_parameters`), so that no code but the library's is needed."""
    if stretches_nothing(experiment.rope, facts["target"] / facts["original"]):
        about = f"""Rotary positions are those of {experiment.model.name}: nothing is stretched."""
    if isinstance(experiment.rope, SelfExtend):
        sizes = sizes_of(experiment.rope, facts["original"], facts["target"])
        code.append("from longctx.self_extend import Sizes, self_extend")
        inner, reads = "model", 'model.generate(**tokenizer(text, return_tensors="pt"))'
        if experiment.embeds:
            opened.append(f"model.max_seq_length = {facts['target']}")
            inner, reads = "model[0].model", "vectors = model.encode(texts)"
        opened += [f"with self_extend({inner}, {sizes}):", f"    {reads}"]
        about = f"""The model in this folder is {experiment.model.name} as it was, which reads {facts["original"]:,} tokens.
Self-Extend (arXiv 2401.01325) is a way to compute attention while reading, up to {facts["target"]:,} tokens here; no
saved model holds it, so it needs finewise's `longctx`."""
    return "```python\n" + "\n".join([*code, "", *opened]) + f"\n```\n\n{about}"


def _rope(experiment: LongContextExperiment, facts: dict[str, Any]) -> dict[str, Any]:
    """Return what the record says of the method, and how Self-Extend's settings were read, wherever it is compared."""
    sizes = {
        arm.system: asdict(sizes_of(arm.method, facts["model"]["original"], facts["model"]["target"]))
        for arm in arms_of(experiment)
        if isinstance(arm.method, SelfExtend)
    }
    method = {"method": name_of(experiment.rope), "adapted": experiment.adapt, "lengths": facts["lengths"]}
    return {**method, **sizes}


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
