"""Checkpoints of models whose head shares its weights with the token embeddings."""

from typing import Any

from transformers import Trainer


class TiedCheckpoints(Trainer):
    """A trainer that does not call tied weights missing: a checkpoint holds them once."""

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        tied = set(getattr(self.model, "all_tied_weights_keys", ()))
        missing = [key for key in load_result.missing_keys if key not in tied]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=missing))
