"""The cases a training used -> the record that its bundle keeps, for evaluations to ask.

In: a bundle's folder, manifests and the folds held out of them. Out: `configs/training_cases.json`. What is done with
it: `lungseg3d.data.trained_on`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lungseg3d.core import OutputError
from lungseg3d.data import TRAINING_CASES, read_manifest, training_record, training_text
from lungseg3d.io import write_text


def write_training_record(bundle: Path, used: Sequence[tuple[Path | str, int | None]]) -> Path:
    """Write down what a bundle's weights have seen.

    Args:
        bundle: its folder.
        used: manifest (file or shipped name) and the fold that was held out of it; None: every case was trained on. A
            held-out fold that chose the best checkpoint was seen, too: give None for it.

    Returns:
        The file.

    Raises:
        LungSegError: E_MANIFEST.
        OutputError: E_WRITE, E_NO_SPACE.
    """
    contents = [(read_manifest(manifest), fold) for manifest, fold in used]
    parts = [(c, [case for case in c["cases"] if fold is None or case.get("fold") != fold]) for c, fold in contents]
    path = bundle / TRAINING_CASES
    if not path.parent.is_dir():
        raise OutputError("E_WRITE", f"{bundle}: has no folder configs.", "Give the folder of a bundle.")
    write_text(path, training_text(training_record(parts)))
    return path
