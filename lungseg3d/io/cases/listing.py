"""A folder of CTs -> the data list of a bundle.

In: one CT, or a folder with a CT in every file or sub-folder. Out: MONAI data list entries; the studies of a folder.
Reads no pixel.
"""

from __future__ import annotations

from pathlib import Path

from lungseg3d.core import IntakeError
from lungseg3d.io.cases.names import case_id_of
from lungseg3d.io.dicom.files import scan_dicom
from lungseg3d.io.dicom.series import CT_CLASSES
from lungseg3d.io.intake.links import link_rule
from lungseg3d.io.intake.reading import ReadOptions

_VOLUME_ENDINGS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")


def list_cases(dataset_dir: Path | str) -> list[dict[str, str]]:
    """One entry {"image": path, "case_id": name} for each CT under `dataset_dir`, sorted by path.

    A file is one case. A folder that directly holds files other than volumes (a DICOM series) is one case. Otherwise
    every volume file and every sub-folder of it is a case.

    Raises:
        FileNotFoundError: `dataset_dir` does not exist.
    """
    root = Path(dataset_dir)
    if not root.exists():
        raise FileNotFoundError(f"dataset_dir {root} does not exist")
    paths = [root]
    if root.is_dir():
        children = sorted(child for child in root.iterdir() if not child.name.startswith("."))
        files = [child for child in children if child.is_file()]
        volumes = [child for child in files if child.name.lower().endswith(_VOLUME_ENDINGS)]
        if volumes or not files:
            paths = [child for child in children if child.is_dir() or child in volumes]
    entries: list[dict[str, str]] = []
    for path in paths:
        case_id = case_id_of(path, taken=[entry["case_id"] for entry in entries])
        entries.append({"image": str(path), "case_id": case_id})
    return entries


def list_studies(path: Path | str, options: ReadOptions = ReadOptions()) -> tuple[str, ...]:  # noqa: B008 - frozen
    """StudyInstanceUID of every study with CT images under a folder, sorted; empty for a file and for what is refused.

    `ReadOptions.study` takes one of them.
    """
    path = Path(path)
    if not path.is_dir():
        return ()
    try:
        scan = scan_dicom(path, link_rule(path, options))
    except IntakeError:  # reading it will say why
        return ()
    return tuple(sorted({file.study_uid for file in scan.files if file.sop_class in CT_CLASSES}))
