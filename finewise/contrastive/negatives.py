"""Known positives are never negatives: which texts belong together, and batches that keep them apart.

In a contrastive batch every other row's texts are an anchor's negatives. A row whose text is a known positive of that anchor
would teach the model to push apart what belongs together. The sampler keeps such rows out of one batch; where it is not used,
the mask of the loss takes them out of the denominator.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from finewise.contrastive.rows import TrainingRows
from finewise.data.keys import text_keys

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class KnownPositives:
    """Which texts of the training rows are the same, and which are known to belong together.

    Texts are numbered by their content keys (finewise.data.keys: case and white space do not count): 5 million rows need a few
    arrays, no lists of texts.

    Attributes:
        anchors: (N,) id of each row's anchor text; equal ids are equal texts.
        documents: (N, 1 + negatives) ids of each row's positive and hard negatives, one numbering for all columns.
        starts, positives: The positives of anchor a are positives[starts[a]:starts[a + 1]], sorted.
    """

    anchors: Ints
    documents: Ints
    starts: Ints
    positives: Ints

    @classmethod
    def of(cls, train: TrainingRows) -> "KnownPositives":
        """Number the texts of the training rows; what belongs together, the whole training split says."""
        negatives = [_keys(train, name) for name in train.texts if name.startswith("negative")]
        return cls.from_hashes(
            train.pairs.anchor_keys,
            np.stack([train.pairs.positive_keys, *negatives], axis=1),
            (train.known.anchor_keys, train.known.positive_keys),
        )

    @classmethod
    def from_hashes(
        cls, anchors: Hashes, documents: Hashes, known: tuple[Hashes, Hashes] | None = None
    ) -> "KnownPositives":
        """Number texts given by their hashes.

        Args:
            anchors: (N,).
            documents: (N, 1 + negatives), the positive first.
            known: (M,) anchors and (M,) positives of all pairs that are known, the rows' own among them; None: those alone.
        """
        anchor_hashes, anchor_ids = np.unique(anchors, return_inverse=True)
        document_hashes, document_ids = np.unique(documents, return_inverse=True)
        document_ids = document_ids.reshape(documents.shape).astype(np.int64)
        of, positive = (anchors, documents[:, 0]) if known is None else known
        here = np.isin(of, anchor_hashes) & np.isin(positive, document_hashes)
        ends = [np.searchsorted(anchor_hashes, of[here]), np.searchsorted(document_hashes, positive[here])]
        pairs = np.unique(np.stack(ends, axis=1).astype(np.int64), axis=0)
        starts = np.searchsorted(pairs[:, 0], np.arange(len(anchor_hashes) + 1)).astype(np.int64)
        return cls(
            anchors=anchor_ids.astype(np.int64),
            documents=document_ids,
            starts=starts,
            positives=np.ascontiguousarray(pairs[:, 1]),
        )

    @property
    def nothing_shared(self) -> bool:
        """Whether every text occurs once and belongs to its own row alone, so that any rows go together."""
        different = len(self.starts) - 1, len(np.unique(self.documents))
        return different == (len(self.anchors), self.documents.size) and len(self.positives) == len(self.anchors)

    def of_anchor(self, anchor: int) -> Ints:
        """Return the ids of the documents known to be positives of this anchor."""
        return self.positives[self.starts[anchor] : self.starts[anchor + 1]]

    def ids(self, rows: Ints) -> Ints:
        """Return (B, 2 + negatives) ids of the texts of some training rows: anchor, positive, hard negatives."""
        return np.column_stack([self.anchors[rows], self.documents[rows]])

    def mask(self, ids: Ints) -> npt.NDArray[np.bool_]:
        """Tell which documents of a batch are known positives of which of its anchors, a row's own positive left out.

        Args:
            ids: (B, 2 + negatives) of the whole batch, over all devices, as `ids` gives them.

        Returns:
            (B, B * (1 + negatives)) in the loss's order of candidates: all positives, then all first negatives, and so
            on. True where the candidate must not count as a negative.
        """
        candidates = ids[:, 1:].T.reshape(-1)
        places: dict[int, list[int]] = {}
        for place, document in enumerate(candidates.tolist()):
            places.setdefault(document, []).append(place)
        mask = np.zeros((len(ids), len(candidates)), dtype=bool)
        for row, anchor in enumerate(ids[:, 0].tolist()):
            for document in self.of_anchor(anchor).tolist():
                mask[row, places.get(document, [])] = True
        mask[np.arange(len(ids)), np.arange(len(ids))] = False
        return mask


def _keys(train: TrainingRows, column: str) -> Hashes:
    """Return the content keys of a column of texts, (N,)."""
    batches = train.pairs.batches([column])
    return np.concatenate([text_keys(table.column(column).to_pylist()) for _, table in batches])


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an epoch looks like: batches over all devices, mean rows per batch, rows that cannot be placed."""

    batches: int
    mean_rows: float
    left_out: int


class NoKnownPositives(DefaultBatchSampler):
    """Draws batches in which no row's texts are a known positive of another row's anchor.

    Exact and per anchor: rows r and q never share a batch when a document of r (its positive or a hard negative) is a
    known positive of q's anchor, or the other way round; equal anchors are the simplest case. With several devices whose
    embeddings are gathered, this holds over the gathered batch: `world` consecutive batches are drawn as one.

    A row that does not fit waits for the next batch. Where many rows share texts, batches hold fewer rows than asked for
    and there are more of them; `plan` says so beforehand. Every epoch has the same number of batches. A row that would be
    alone in its batch is left out: without another row there is no negative, and nothing to learn.

    Args:
        known: The texts and what belongs together.
        batch_size: Rows per device.
        seed: With the epoch, decides the order of the rows.
        world: Number of devices whose batches are gathered.
    """

    def __init__(self, known: KnownPositives, batch_size: int, *, seed: int, world: int = 1) -> None:
        super().__init__(range(len(known.anchors)), batch_size=batch_size, drop_last=False, seed=seed)
        self.known = known
        self.rows_per_device = batch_size
        self.world = world
        self._plan: Plan | None = None
        if world > 1:
            # accelerate swallows a batch that is smaller than this attribute says; without it, none.
            self.batch_size = None  # type: ignore[assignment]

    @property
    def plan(self) -> "Plan":
        """How many batches an epoch has, their mean size, and how many rows cannot be placed; from the first epoch."""
        if self._plan is None:
            rows, whole = len(self.known.anchors), self.rows_per_device * self.world
            if self.known.nothing_shared:
                rest = rows % whole - rows % whole % self.world
                rest = rest if rest >= 2 else 0
                groups, placed = rows // whole + (rest > 0), rows - rows % whole + rest
            else:
                sizes = [len(group) for group in self._groups(0, 0)]
                groups, placed = len(sizes), sum(sizes)
            batches = groups * self.world
            self._plan = Plan(batches=batches, mean_rows=placed / max(1, batches), left_out=rows - placed)
        return self._plan

    def __len__(self) -> int:
        """Return the number of batches of every epoch, over all devices."""
        return self.plan.batches

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of row numbers."""
        missing = self.plan.batches // self.world
        attempt = 0
        while missing > 0:
            # Orders differ a little in how many batches they need; a shorter one is filled up from another order.
            for group in itertools.islice(self._groups(self.epoch, attempt), missing):
                share = len(group) // self.world
                for device in range(self.world):
                    yield group[device * share : (device + 1) * share]
                missing -= 1
            attempt += 1

    def _groups(self, epoch: int, attempt: int) -> Iterator[list[int]]:
        """Yield gathered batches until all rows are placed or only rows are left that would be alone."""
        generator = torch.Generator().manual_seed(self.seed + epoch + 1_000_003 * attempt)
        fresh = iter(torch.randperm(len(self.known.anchors), generator=generator).tolist())
        waiting: list[int] = []
        while True:
            drawn, waiting = self._draw(self.rows_per_device * self.world, waiting, fresh)
            # Every device gets equally many rows, or gathering their embeddings would fail.
            even = len(drawn) - len(drawn) % self.world
            if even < 2:
                return
            waiting = drawn[even:] + waiting
            yield drawn[:even]

    def _draw(self, size: int, waiting: list[int], fresh: Iterator[int]) -> tuple[list[int], list[int]]:
        """Take up to `size` rows that go together, first from those that waited; return them and those that wait on."""
        known = self.known
        drawn: list[int] = []
        present: set[int] = set()
        forbidden: set[int] = set()
        still: list[int] = []

        def fits(row: int) -> bool:
            own = set(known.documents[row].tolist())
            wanted = known.of_anchor(int(known.anchors[row])).tolist()
            if not forbidden.isdisjoint(own) or not present.isdisjoint(wanted):
                return False
            present.update(own)
            forbidden.update(wanted)
            drawn.append(row)
            return True

        for position, row in enumerate(waiting):
            if len(drawn) == size:
                return drawn, still + waiting[position:]
            if not fits(row):
                still.append(row)
        # Looking for a partner through millions of rows would be quadratic; a window of waiting rows is enough.
        limit = 50 * size
        while len(drawn) < size and len(still) < limit:
            row = next(fresh, -1)
            if row < 0:
                break
            if not fits(row):
                still.append(row)
        return drawn, still
