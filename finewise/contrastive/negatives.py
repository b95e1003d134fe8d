"""Known positives are never negatives: which texts belong together, and batches that keep them apart.

In a contrastive batch every other row's texts are an anchor's negatives. A row whose text is a known positive of that anchor
would teach the model to push apart what belongs together. The sampler keeps such rows out of one batch; where it is not used,
the mask of the loss takes them out of the denominator.

Texts are the same whatever column they stand in. A known positive of an anchor is a text that stands with it in a row, as its
positive or as the anchor of a row whose positive it is, and the anchor's own text.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from finewise.contrastive.rows import TrainingRows

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
        ends, holders: The anchors of which document d is a positive are holders[ends[d]:ends[d + 1]], sorted.
    """

    anchors: Ints
    documents: Ints
    starts: Ints
    positives: Ints
    ends: Ints
    holders: Ints

    @classmethod
    def of(cls, train: TrainingRows) -> "KnownPositives":
        """Number the texts of the training rows; what belongs together, the whole training split says."""
        negatives = [train.pairs.keys(name) for name in train.texts if name.startswith("negative")]
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
        first, second = (anchors, documents[:, 0]) if known is None else known
        of, positive = np.concatenate([first, second, anchor_hashes]), np.concatenate([second, first, anchor_hashes])
        here = np.isin(of, anchor_hashes) & np.isin(positive, document_hashes)
        ends = [np.searchsorted(anchor_hashes, of[here]), np.searchsorted(document_hashes, positive[here])]
        pairs = np.unique(np.stack(ends, axis=1).astype(np.int64), axis=0)
        starts = np.searchsorted(pairs[:, 0], np.arange(len(anchor_hashes) + 1)).astype(np.int64)
        by_document = pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))]
        return cls(
            anchors=anchor_ids.astype(np.int64),
            documents=document_ids,
            starts=starts,
            positives=np.ascontiguousarray(pairs[:, 1]),
            ends=np.searchsorted(by_document[:, 1], np.arange(len(document_hashes) + 1)).astype(np.int64),
            holders=np.ascontiguousarray(by_document[:, 0]),
        )

    @property
    def nothing_shared(self) -> bool:
        """Whether every text occurs once and belongs to its own row alone, so that any rows go together."""
        different = len(self.starts) - 1, len(np.unique(self.documents))
        return different == (len(self.anchors), self.documents.size) and len(self.positives) == len(self.anchors)

    def of_anchor(self, anchor: int) -> Ints:
        """Return the ids of the documents known to be positives of this anchor."""
        return self.positives[self.starts[anchor] : self.starts[anchor + 1]]

    def is_positive(self, anchor: int, document: int) -> bool:
        """Return whether the document is known to be a positive of this anchor."""
        low, high = int(self.starts[anchor]), int(self.starts[anchor + 1])
        place = low + int(np.searchsorted(self.positives[low:high], document))
        return place < high and int(self.positives[place]) == document

    def ids(self, rows: Ints) -> Ints:
        """Return (B, 2 + negatives) ids of the texts of some training rows: anchor, positive, hard negatives."""
        return np.column_stack([self.anchors[rows], self.documents[rows]])

    def mask(self, ids: Ints) -> npt.NDArray[np.bool_]:
        """Return which documents of a batch are known positives of which of its anchors, a row's own positive left out.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an epoch looks like: batches over all devices, mean rows per batch, rows that the first epoch leaves out."""

    batches: int
    mean_rows: float
    left_out: int


class NoKnownPositives(DefaultBatchSampler):
    """Makes batches in which no row's texts are a known positive of another row's anchor.

    Exact and per anchor: rows r and q never share a batch when a document of r (its positive or a hard negative) is a
    known positive of q's anchor, or the other way round; equal anchors are the simplest case. With several devices whose
    embeddings are gathered, this holds over the gathered batch: `world` consecutive batches are drawn as one.

    A row that does not fit waits for the next batch, with the others that the same anchor or document keeps waiting; of these a
    batch takes one. Where many rows share texts, batches hold fewer rows than asked for and there are more of them; `plan`
    says so beforehand. Batches are as full as can be: of a text in very many rows each takes one row, and rows beyond the
    batches that the others fill are left out. So is a row that would be alone in its batch: without another row there is no
    negative, and nothing to learn.

    Every epoch has the same number of batches, that of the first. Where another order needs more of them, its last rows are not
    read in that epoch; where it needs fewer, some of its last batches are halved.

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
        """How many batches an epoch has, their mean size, and how many rows are left out: as the first epoch has them."""
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
        for group in self._epoch(self.plan.batches // self.world):
            share = len(group) // self.world
            for device in range(self.world):
                yield group[device * share : (device + 1) * share]

    def _epoch(self, wanted: int) -> Iterator[list[int]]:
        """Yield so many gathered batches; no row twice, unless halving the last ones does not make enough."""
        late: deque[list[int]] = deque()
        for group in itertools.islice(self._groups(self.epoch, 0), wanted):
            late.append(group)
            if len(late) > LATE:
                wanted -= 1
                yield late.popleft()
        halved = _halved(list(late), wanted, max(2, self.world), self.world)
        yield from halved
        missing, attempt = wanted - len(halved), 1
        while missing > 0:
            for group in itertools.islice(self._groups(self.epoch, attempt), missing):
                missing -= 1
                yield group
            attempt += 1

    def _groups(self, epoch: int, attempt: int) -> Iterator[list[int]]:
        """Yield gathered batches until all rows are placed or only rows are left that would be alone."""
        generator = torch.Generator().manual_seed(self.seed + epoch + 1_000_003 * attempt)
        fresh = iter(torch.randperm(len(self.known.anchors), generator=generator).tolist())
        waiting: Waiting = {}
        while True:
            batch = _Batch(self.known, self.rows_per_device * self.world)
            batch.take_first(waiting)
            if len(batch.rows) < batch.size:
                batch.take(fresh, waiting)
            # Every device gets equally many rows, or gathering their embeddings would fail.
            if len(batch.rows) < max(2, self.world):
                batch = self._last(batch, waiting)
            even = len(batch.rows) - len(batch.rows) % self.world
            if even < 2:
                return
            for row in batch.rows[even:]:
                waiting.setdefault(int(self.known.anchors[row]), deque()).append(row)
            yield batch.rows[:even]

    def _last(self, batch: "_Batch", waiting: "Waiting") -> "_Batch":
        """Return the fullest batch among the rows that wait and those of a batch that stayed too small.

        Which rows go together depends on the first one: each is tried as such, up to a number.
        """
        left = [*batch.rows, *(row for queue in waiting.values() for row in queue)]
        best = batch
        for first in left[:STARTS]:
            tried = _Batch(self.known, self.rows_per_device * self.world)
            tried.take([first, *left])
            if len(tried.rows) > len(best.rows):
                best = tried
            if len(best.rows) >= max(2, self.world):
                break
        taken = set(best.rows)
        waiting.clear()
        for row in left:
            if row not in taken:
                waiting.setdefault(int(self.known.anchors[row]), deque()).append(row)
        return best


STARTS = 200
"""Rows that are tried as the first of a last batch."""

LATE = 64
"""Batches at the end of an epoch that may be halved."""


def _halved(groups: list[list[int]], wanted: int, least: int, multiple: int) -> list[list[int]]:
    """Return so many groups, or as many as there can be, by halving the largest in turn.

    >>> _halved([[1, 2, 3, 4, 5, 6], [7, 8]], 3, 2, 1)
    [[1, 2, 3], [4, 5, 6], [7, 8]]

    Args:
        groups: Rows each.
        wanted: How many groups.
        least: Rows that a group must keep.
        multiple: Rows come in groups of a multiple of this.
    """
    while groups and len(groups) < wanted:
        place = max(range(len(groups)), key=lambda number: len(groups[number]))
        whole = groups[place]
        half = len(whole) // 2 - len(whole) // 2 % multiple
        if half < least:
            break
        groups[place : place + 1] = [whole[:half], whole[half:]]
    return groups


Waiting = dict[int, deque[int]]
"""What keeps rows waiting -> these rows, in order: an anchor's id, or -1 - a document's."""


class _Batch:
    """Rows that go together, and what they forbid."""

    def __init__(self, known: KnownPositives, size: int) -> None:
        self.known = known
        self.size = size
        self.rows: list[int] = []
        self.anchors: set[int] = set()
        self.documents: set[int] = set()

    def take_first(self, waiting: Waiting) -> None:
        """Take the first row of each queue, where it fits; the others of that queue would be kept out by it."""
        for key in list(waiting):
            if len(self.rows) == self.size:
                return
            row = waiting[key].popleft()
            if not waiting[key]:
                del waiting[key]
            self._add(row, waiting, first=True)

    def take(self, rows: Iterable[int], waiting: Waiting | None = None) -> None:
        """Take rows until the batch is full; those that do not fit wait."""
        for row in rows:
            self._add(row, waiting)
            if len(self.rows) == self.size:
                return

    def _add(self, row: int, waiting: Waiting | None, *, first: bool = False) -> None:
        key = self._kept_out_by(row)
        if key is None:
            self._accept(row)
        elif waiting is not None and first:
            waiting.setdefault(key, deque()).appendleft(row)
        elif waiting is not None:
            waiting.setdefault(key, deque()).append(row)

    def _accept(self, row: int) -> None:
        self.rows.append(row)
        self.anchors.add(int(self.known.anchors[row]))
        self.documents.update(self.known.documents[row].tolist())

    def _kept_out_by(self, row: int) -> int | None:
        """Return what keeps a row out of this batch, as in `Waiting`; None if it fits.

        Each question is asked from its smaller side, so that a text with many thousand partners costs no more than others.
        """
        known, anchor = self.known, int(self.known.anchors[row])
        own = known.documents[row].tolist()
        if anchor in self.anchors:
            return anchor
        if own[0] in self.documents:
            return -1 - int(own[0])
        if known.starts[anchor + 1] - known.starts[anchor] <= len(self.documents):
            wanted = known.of_anchor(anchor).tolist()
            if any(document in self.documents for document in wanted):
                return anchor
        elif any(known.is_positive(anchor, document) for document in self.documents):
            return anchor
        for document in own:
            first, last = int(known.ends[document]), int(known.ends[document + 1])
            if last - first <= len(self.anchors):
                kept_out = any(holder in self.anchors for holder in known.holders[first:last].tolist())
            else:
                kept_out = any(known.is_positive(other, document) for other in self.anchors)
            if kept_out:
                return -1 - int(document)
        return None
