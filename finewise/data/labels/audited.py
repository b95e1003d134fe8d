"""The audit's report of labelled rows, kept: the same rows under the same settings are not looked at twice."""

from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from finewise.config import LabelAuditConfig
from finewise.data.audited import LIBRARIES, remembered, told
from finewise.data.keys import combine
from finewise.data.labels import suspects as judging
from finewise.data.labels.rows import Labelled
from finewise.data.report import AuditReport
from finewise.data.store import made_by
from finewise.data.tokens import TokenLimit


def audited_labels(
    train: Labelled,
    dev: Labelled,
    test: Labelled,
    config: LabelAuditConfig,
    *,
    limit: TokenLimit | str | None,
    seed: int,
    read: Sequence[str],
    suspects: Callable[[], judging.Suspects] | None,
) -> AuditReport:
    """Return what `finewise.data.labels.audit.audit_labels` finds, from the cache if it has looked at all this before."""

    def look() -> AuditReport:
        from finewise.data.labels.audit import audit_labels

        return audit_labels(train, dev, test, config, limit=limit, seed=seed, read=read, suspects=suspects)

    if isinstance(limit, TokenLimit) and limit.tokenizer is None:
        return look()  # nothing is known of how it counts
    key = combine(
        "label audit",
        made_by(("finewise.data", "finewise.data.labels"), (*LIBRARIES, *judging.LIBRARIES)),
        *(_content(one) for one in (train, dev, test)),
        *(repr(config), seed, repr(tuple(read)), repr(told(limit))),
    )
    return remembered(key, look)


def _content(data: Labelled) -> tuple[object, ...]:
    groups = np.zeros(0, dtype=np.int64) if data.groups is None else data.groups
    arrays = [xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).tobytes()) for array in (data.numbers, groups)]
    return data.revision, data.reference, data.unit, data.split, *arrays
