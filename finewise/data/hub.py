"""Data sets from the hub: `hub:NAME[:CONFIG][@REVISION]`."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from finewise.data.arrow import ArrowSource
from finewise.data.keys import combine
from finewise.data.table import BATCH_ROWS
from finewise.errors import InputError
from finewise.names import unknown
from finewise.references import HUB, file_sha256

if TYPE_CHECKING:
    from datasets import Dataset

TIMEOUT = 10
ALIASES = {"dev": ("dev", "validation", "valid")}


def parse(reference: str) -> tuple[str, str | None, str | None]:
    """Return (name, config, revision) of `hub:NAME[:CONFIG][@REVISION]`.

    >>> parse("hub:sentence-transformers/all-nli:triplet@main")
    ('sentence-transformers/all-nli', 'triplet', 'main')
    """
    found = re.fullmatch(r"hub:([\w.\-]+(?:/[\w.\-]+)?)(?::([\w.\-]+))?(?:@([\w./\-]+))?", reference)
    if found is None:
        raise InputError(f"{reference}: must be hub:NAME, hub:NAME:CONFIG or either with @REVISION")
    return found[1], found[2], found[3]


class HubSource(ArrowSource):
    """One split of a hub data set, downloaded into the hub's own cache."""

    def __init__(self, reference: str, split: str) -> None:
        self._rows = _load(reference, split)
        super().__init__(reference, self._rows.features.arrow_schema, len(self._rows))

    def content(self) -> str:
        """Return the sha256 of the Arrow files behind the rows."""
        files = [file_sha256(Path(file["filename"])) for file in self._rows.cache_files]
        # Rows that are kept in memory have no file; their fingerprint follows the hub's files.
        return combine(len(self._rows), *(files or [self._rows._fingerprint]))

    def class_names(self, column: str) -> list[str] | None:
        """Return the names of a column of class numbers, or of lists of them."""
        feature = self._rows.features[column]
        names: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
        return names

    def tables(self, columns: Sequence[str]) -> Iterable[pa.Table]:
        """Yield the columns in pieces."""
        tables: Iterable[pa.Table] = self._rows.select_columns(list(columns)).with_format("arrow").iter(BATCH_ROWS)
        return tables


def _load(reference: str, split: str) -> "Dataset":
    name, config, revision = parse(reference)
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        if not constants.HF_HUB_OFFLINE:
            revision = _pinned(name, revision)
        splits = datasets.get_dataset_split_names(name, config, revision=revision)
        chosen = next((known for known in ALIASES.get(split, (split,)) if known in splits), None)
        if chosen is None:
            raise InputError(f"{reference}: {unknown('split', split, splits)}")
        return datasets.load_dataset(name, config, split=chosen, revision=revision)
    except InputError:
        raise
    except GatedRepoError:
        raise InputError(
            f"{reference}: access must be granted first: log in with `hf auth login` and ask for it on its page"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{reference}: the data set '{name}' has no revision '{revision}'") from None
    except (RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError):
        raise InputError(f"{reference}: no data set '{name}' on the hub (or it is private: `hf auth login`)") from None
    except (ConnectionError, HfHubHTTPError) as error:
        raise InputError(
            f"{reference}: the hub cannot be reached ({type(error).__name__}); use a local file, or "
            "HF_HUB_OFFLINE=1 with a copy "
            "that was downloaded before"
        ) from None
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{reference}: cannot be loaded: {' '.join(str(error).split())[:300]}") from None


def _pinned(name: str, revision: str | None) -> str:
    """Ask the hub once, without retries, which commit a revision is: offline this fails at once."""
    from huggingface_hub import HfApi

    try:
        info: Any = HfApi().dataset_info(name, revision=revision, timeout=TIMEOUT)
    except Exception as error:
        # The HTTP library's own connection errors have no public base class that all versions share.
        if type(error).__name__.endswith(("ConnectError", "Timeout", "TimeoutException", "NetworkError", "ProxyError")):
            raise ConnectionError(str(error)) from None
        raise
    return str(info.sha)


def is_hub(reference: str) -> bool:
    """Return whether the reference names a hub data set."""
    return reference.startswith(HUB)
