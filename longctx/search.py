"""`python -m longctx.search model.name=... stretch.factor=4`: search LongRoPE's factors for a model, without training it.

Lists are scored by perplexity at the new window on some documents, and the best one is proved on others, beside the methods
that need no search.
"""

from pathlib import Path
from typing import Any

from finewise.processes import refuse_several
from finewise.settings import entry
from longctx.search_config import SearchRunConfig


@entry("search", SearchRunConfig, description="Search the factors of rope=longrope by perplexity, without training.")
def main(config: SearchRunConfig) -> float:
    """Search, prove, print the table and the settings to train with; return the perplexity by which the list was chosen."""
    refuse_several("longctx.search")
    reference = check_settings(config)
    from finewise.references import content_of
    from finewise.run import Run

    with Run.open("search", config, name=Path(config.model.name).stem, resume=config.resume) as run:
        run.pin("model", content_of(reference))
        if run.finished is None:
            with run.stage("search"):
                with run.stage("imports"):
                    from longctx.factors import search
                search(config, run)
        return show(run)


def check_settings(config: SearchRunConfig) -> Path | str:
    """Refuse a model or documents that are not there, before anything slow is imported; return where the model is."""
    from finewise.data.documents import check_documents
    from finewise.references import check_hub, model_reference

    reference = model_reference(config.model.name, config.model.revision, gguf=True)
    if isinstance(reference, str):
        check_hub(reference, config.model.revision)
    check_documents(config.data.train)
    if config.data.test is not None:
        check_documents(config.data.test, "test")
    return reference


def show(run: Any) -> float:
    """Print what a finished run found; return the perplexity by which its list was chosen."""
    import math

    from finewise import record
    from finewise.console import out
    from longctx.factors import table

    content = record.read(run.dir / record.FILE)
    out.print(table(content))
    factors = ",".join(f"{factor:g}" for factor in content["rope"]["long_factors"])
    out.print(f"rope=longrope 'rope.long_factors=[{factors}]'", markup=False, soft_wrap=True, highlight=False)
    out.print(f"record, report and pictures: {run.dir}", markup=False, soft_wrap=True)
    return math.exp(float(content["search"]["loss"]))


if __name__ == "__main__":
    main()
