"""Known positives are never negatives: which texts belong together, and batches that keep them apart.

In a contrastive batch every other row's texts are an anchor's negatives. A row whose text is a known positive of that anchor
would teach the model to push apart what belongs together. The sampler keeps such rows out of one batch; where it is not used,
the mask of the loss takes them out of the denominator.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xxhash
from sentence_transformers.base.sampler import DefaultBatchSampler

log = logging.getLogger("finewise")

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class KnownPositives:
    """Which texts of the training rows are the same, and which are known to belong together.

    Texts are numbered by their 64-bit hashes: 5 million rows need a few arrays, no lists of texts.

    Attributes:
        anchors: (N,) id of each row's anchor text; equal ids are equal texts.
        documents: (N, 1 + negatives) ids of each row's positive and hard negatives, one numbering for all columns.
        starts, positives: The positives of anchor a are positives[starts[a]:starts[a + 1]], sorted.
        anchor_hashes, document_hashes: The hash of each id's text, ascending.
    """

    anchors: Ints
    documents: Ints
    starts: Ints
    positives: Ints
    anchor_hashes: Hashes
    document_hashes: Hashes

    @classmethod
    def of(cls, rows: Any) -> "KnownPositives":
        """Number the texts of a data set with columns anchor, positive and perhaps negative, negative_1, ..."""
        return cls.from_hashes(
            _column_hashes(rows, "anchor"),
            np.stack([_column_hashes(rows, name) for name in document_columns(rows.column_names)], axis=1),
        )

    @classmethod
    def from_hashes(cls, anchors: Hashes, documents: Hashes) -> "KnownPositives":
        """Number texts given by their hashes: anchors (N,), documents (N, 1 + negatives) with the positive first."""
        anchor_hashes, anchor_ids = np.unique(anchors, return_inverse=True)
        document_hashes, document_ids = np.unique(documents, return_inverse=True)
        anchor_ids = anchor_ids.astype(np.int64)
        document_ids = document_ids.reshape(documents.shape).astype(np.int64)
        pairs = np.unique(np.stack([anchor_ids, document_ids[:, 0]], axis=1), axis=0)
        starts = np.searchsorted(pairs[:, 0], np.arange(len(anchor_hashes) + 1)).astype(np.int64)
        return cls(
            anchors=anchor_ids,
            documents=document_ids,
            starts=starts,
            positives=np.ascontiguousarray(pairs[:, 1]),
            anchor_hashes=anchor_hashes,
            document_hashes=document_hashes,
        )

    def of_anchor(self, anchor: int) -> Ints:
        """Return the ids of the documents known to be positives of this anchor."""
        return self.positives[self.starts[anchor] : self.starts[anchor + 1]]

    def ids(self, batch: Sequence[Mapping[str, Any]]) -> Ints:
        """Return (B, 2 + negatives) ids of the texts of some training rows: anchor, positive, hard negatives."""
        columns = document_columns(batch[0])
        anchors = np.searchsorted(self.anchor_hashes, hashes([row["anchor"] for row in batch]))
        documents = [np.searchsorted(self.document_hashes, hashes([row[name] for row in batch])) for name in columns]
        return np.stack([anchors, *documents], axis=1).astype(np.int64)

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


def document_columns(names: Iterable[str]) -> list[str]:
    """Return the columns whose texts are candidates: the positive, then the hard negatives."""
    return ["positive", *(name for name in names if name.startswith("negative"))]


def hashes(texts: Sequence[str]) -> Hashes:
    """Return a 64-bit hash per text."""
    return np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], dtype=np.uint64)


def _column_hashes(rows: Any, column: str) -> Hashes:
    """Hash a text column, (N,), reading some thousand rows at a time."""
    size = 10_000
    texts = rows.select_columns([column])
    return np.concatenate([hashes(texts[start : start + size][column]) for start in range(0, len(rows), size)])


class NoKnownPositives(DefaultBatchSampler):
    """Draws batches in which no row's texts are a known positive of another row's anchor.

    Exact and per anchor: rows r and q never share a batch when a document of r (its positive or a hard negative) is a known
    positive of q's anchor, or the other way round; equal anchors are the simplest case. With several devices whose embeddings
    are gathered, this holds over the gathered batch: `world` consecutive batches are drawn as one.

    A row that does not fit waits for the next batch. The number of batches is fixed; the few rows that never fitted are left
    out of the epoch and counted in `left_out`.

    Args:
        known: The texts and what belongs together.
        batch_size: Rows per device.
        drop_last: Leave out a last batch that is not full.
        seed: With the epoch, decides the order of the rows.
        world: Number of devices whose batches are gathered.
    """

    def __init__(self, known: KnownPositives, batch_size: int, *, drop_last: bool, seed: int, world: int = 1) -> None:
        super().__init__(range(len(known.anchors)), batch_size=batch_size, drop_last=drop_last, seed=seed)
        self.known = known
        self.world = world
        self.left_out = 0

    def __len__(self) -> int:
        """Return the number of batches of every epoch, over all devices."""
        rows, whole = len(self.known.anchors), self.batch_size * self.world
        return (rows // whole if self.drop_last else -(-rows // whole)) * self.world

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of row numbers."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.known.anchors), generator=generator).tolist()
        whole = self.batch_size * self.world
        fresh = iter(order)
        waiting: list[int] = []
        taken = 0
        for _ in range(len(self) // self.world):
            drawn, waiting = self._draw(whole, waiting, fresh)
            # Every device gets equally many rows, or gathering their embeddings would fail.
            share = len(drawn) // self.world
            if share == 0 or (self.drop_last and len(drawn) < whole):
                break
            taken += share * self.world
            for device in range(self.world):
                yield drawn[device * share : (device + 1) * share]
        self.left_out = len(order) - taken
        if self.left_out > (whole if self.drop_last else 0):
            log.warning(
                "%d of %d rows share a text with so many others that no batch of this epoch could take them",
                self.left_out,
                len(order),
            )

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
