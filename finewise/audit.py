"""Entry point: the audit alone. `python -m finewise.audit data=files data.train=pairs.jsonl`.

The exit status is 0 when training may start (warnings included), 1 when it would be refused, and 2 when the settings
or the files are wrong.
"""

from pathlib import Path

from finewise.config import AuditRunConfig
from finewise.console import out, say
from finewise.errors import InputError
from finewise.processes import refuse_several
from finewise.record import write_json
from finewise.settings import entry


@entry("audit", AuditRunConfig, description="Look at training data and held-out data without training")
def main(config: AuditRunConfig) -> None:
    """Read, split and audit the data, print what was found, and exit with 1 when training would be refused."""
    refuse_several("finewise.audit")
    from finewise.data.load import prepare
    from finewise.data.tokens import limit_to_show

    report = prepare(config.data, config.audit, config.seed, limit=limit_to_show(config.model)).report
    out.print(report)
    if config.output is not None:
        try:
            write_json(Path(config.output), report.summary())
        except OSError as error:
            raise InputError(f"output={config.output}: cannot be written ({error.strerror or error})") from None
        say(f"written: {config.output}")
    try:
        report.check()
    except InputError as error:
        say(f"training would be refused: {error}")
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
