"""The folder that `segment` writes for one case: the names of its files, and its record.

In: a folder. Out: paths, the record. Reads no mask and writes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lungseg3d.core import CaseResult, IntakeError, case_result_of


@dataclass(frozen=True)
class CaseFolder:
    """Results of one case.

    Attributes:
        path: the folder; it is named after the case.
    """

    path: Path

    LABELS: ClassVar[str] = "labels.nii.gz"
    """Lungs and listed nodules."""
    NODULES: ClassVar[str] = "nodules.nii.gz"
    """Listed nodules by `Nodule.id`."""
    CANDIDATES: ClassVar[str] = "candidates.nii.gz"
    """Findings that are not listed, by `Nodule.id`."""
    UNCERTAINTY: ClassVar[str] = "uncertainty.nii.gz"
    EXPLANATION: ClassVar[str] = "explanation.nii.gz"
    SEG: ClassVar[str] = "segmentation.dcm"
    SR: ClassVar[str] = "measurements.dcm"
    TABLE: ClassVar[str] = "nodules.csv"
    RECORD: ClassVar[str] = "result.json"
    REPORT: ClassVar[str] = "report.html"
    MASKS: ClassVar[tuple[str, ...]] = (LABELS, NODULES)
    """Masks that every done case with `nifti` among its formats has."""

    @property
    def name(self) -> str:
        """The case, for messages: without the folders above it, which may be named after patients."""
        return self.path.name

    @property
    def labels(self) -> Path:
        """Path of the label map."""
        return self.path / self.LABELS

    @property
    def nodules(self) -> Path:
        """Path of the map of listed nodules."""
        return self.path / self.NODULES

    @property
    def candidates(self) -> Path:
        """Path of the map of candidates."""
        return self.path / self.CANDIDATES

    @property
    def seg(self) -> Path:
        """Path of the DICOM SEG."""
        return self.path / self.SEG

    @property
    def report(self) -> Path:
        """Path of the page."""
        return self.path / self.REPORT

    @property
    def has_record(self) -> bool:
        """Whether there is a record, which is written last: then the folder is that of a case."""
        return (self.path / self.RECORD).is_file()

    def absent(self, *names: str) -> list[str]:
        """Those of some files that are not there."""
        return [name for name in names if not (self.path / name).is_file()]

    def content(self) -> Any:
        """The JSON value of the record as it was written, also keys that this version does not know.

        Raises:
            OSError, ValueError: there is none, or it is no JSON.
        """
        return json.loads((self.path / self.RECORD).read_text(encoding="utf-8"))

    def record(self) -> CaseResult:
        """The record, of any version of its schema.

        Raises:
            IntakeError: E_NOT_A_RESULT; its cause is the error that reading it ended in.
        """
        try:
            return case_result_of(self.content())
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            text = f"{self.name}: no readable {self.RECORD} ({error})."
            raise IntakeError("E_NOT_A_RESULT", text, "Give a folder that segment wrote.") from error
