"""Opening the file behind a reference: the hub's, a folder's for a split, or the file itself."""

from finewise.data.formats import open_source
from finewise.data.hub import HubSource, is_hub
from finewise.data.sources import labelled_file, resolve
from finewise.data.table import Source
from finewise.references import file_sha256


def open_reference(reference: str, split: str) -> tuple[Source, str]:
    """Return a reference's rows, not yet read, and what pins their content.

    Args:
        reference: See finewise.data.sources; a file, a folder or set with a file for each of train, dev and test, or hub:NAME.
        split: Which file of a folder, or split of a hub data set; a file has no choice.

    Raises:
        InputError: There is no such file, or it is empty or of an unknown kind.
    """
    if is_hub(reference):
        hub = HubSource(reference, split)
        return hub, hub.content()
    path = labelled_file(reference, split)
    name = f"{reference}/{path.name}" if resolve(reference).is_dir() else reference
    return open_source(path, name), file_sha256(path)
