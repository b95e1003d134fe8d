"""The edge between the command line and the code: Hydra outside, plain dataclasses inside.

`entry` turns `main(experiment)` into a command-line program. Every mistake in the settings is told in one message,
before anything heavy is imported; past this edge nobody sees an OmegaConf object. `command`, `sweep_folder` and `to_yaml`
are for the record of a run.
"""

from finewise.settings.build import to_yaml
from finewise.settings.edge import command, entry, sweep_folder

__all__ = ["command", "entry", "sweep_folder", "to_yaml"]
