"""Entry point: the audit of labelled data alone. `python -m classify.audit data.train=tickets.csv`.

The exit status is 0 when training may start (warnings included), 1 when it would be refused, and 2 when the settings
or the files are wrong.
"""

from finewise.config import LabelAuditRunConfig
from finewise.processes import refuse_several
from finewise.settings import entry


@entry("classify_audit", LabelAuditRunConfig, description="Look at labelled data without training.")
def main(config: LabelAuditRunConfig) -> None:
    """Read, split and audit the data, print what was found, and exit with 1 when training would be refused."""
    refuse_several("classify.audit")
    from finewise.data.labels.show import show_audit

    if not show_audit(config):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
