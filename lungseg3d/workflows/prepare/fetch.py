"""`prepare --download`: the archive of a public dataset -> its folder, unpacked.

In: a dataset that is one file at one address, and a folder. Out: the folder of the dataset in it. Goes on where it
stopped; does nothing where the dataset is there.
"""

from __future__ import annotations

from pathlib import Path

from lungseg3d.core import UsageError
from lungseg3d.core.progress import OnProgress
from lungseg3d.data import Dataset
from lungseg3d.io import download, make_folder, unpack_tar

_UNPACKED_RATIO = 3


def fetch_dataset(dataset: Dataset, into: Path, on_progress: OnProgress | None = None) -> Path:
    """Load and unpack a dataset.

    Args:
        dataset: with an archive.
        into: folder for the archive and what is in it; made when absent.
        on_progress: called with (dataset, step, fraction done).

    Returns:
        The dataset's folder in `into`.

    Raises:
        UsageError: E_NO_DOWNLOAD for a dataset that is not at one address, with how to get it.
        LungSegError: E_OFFLINE, E_DOWNLOAD, E_CHECKSUM, E_RESOURCE_LIMIT; E_CORRUPT, E_UNSAFE_ARCHIVE.
        OutputError: E_NO_SPACE, E_WRITE.
    """
    archive = dataset.archive
    if archive is None:
        text = f"{dataset.name} is not at one address: its publisher gives it out by a program or form of its own."
        raise UsageError("E_NO_DOWNLOAD", text, dataset.how_to_get)
    if (into / archive.folder).is_dir():
        return into / archive.folder
    make_folder(into)
    file = into / archive.url.rpartition("/")[2]

    def loaded(done: int, total: int) -> None:
        if on_progress:
            on_progress(dataset.name, f"download {archive.url}", done / total if total else 0.0)

    def unpacked(done: int, _: int) -> None:
        if on_progress:
            on_progress(dataset.name, "unpack", min(1.0, done / file.stat().st_size))

    download(archive.url, file, md5=archive.md5, most_bytes=archive.most_bytes, on_bytes=loaded)
    return unpack_tar(file, archive.folder, into, _UNPACKED_RATIO * archive.most_bytes, unpacked)
