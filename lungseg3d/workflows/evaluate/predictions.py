"""Which file is the prediction of which case: never another case's, however alike their images are called.

In: a folder of predictions, the cases of a manifest. Out: paths. Reads a CT only where names cannot tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lungseg3d.core import IntakeError, LungSegError
from lungseg3d.io import CaseFolder, ReadOptions, case_id_of, read_volume, voxels_crc32

ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


class Predictions:
    """A folder of predictions of the cases of one manifest.

    A case's prediction is `<case_id>/labels.nii.gz` as `segment` and `batch` write it, or `<case_id>.nii.gz` (or
    another of `ENDINGS`). Results of `segment` go by the image's name, which counts where no other case has it as its
    id or as its image's name. Where a result's folder may be another case's (`p1/baseline.nii.gz` and
    `p2/baseline.nii.gz` are numbered by the order of the inputs), it is taken only for the CT whose voxels it was made
    of.

    Args:
        folder: of the predictions.
        cases: all of the manifest, with `case_id` and `files`; more than are evaluated.
        root: folder that their paths start from.
        read: how the manifest's CTs are read.
    """

    def __init__(
        self,
        folder: Path,
        cases: Sequence[Mapping[str, Any]],
        root: Path = Path(),
        read: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    ) -> None:
        self.folder = folder
        self._read = read
        self._ids = Counter(case["case_id"].casefold() for case in cases)
        images = [root / case["files"]["image"] for case in cases if "image" in case["files"]]
        self._image_names = Counter(case_id_of(image).casefold() for image in images)
        self._claims: dict[str, set[str]] = {}
        for name in self._image_names:
            for claimed in self._numbered_names(name):
                self._claims.setdefault(claimed, set()).add(name)

    def find(self, entry: Mapping[str, Any]) -> Path:
        """The label map of a case.

        Args:
            entry: of a data list: `case_id`, and where there is one `image`.

        Raises:
            IntakeError: E_NO_PREDICTION.
            LungSegError: E_DUPLICATE_CASE where there are two.
        """
        case_id = entry["case_id"]
        found = self._there(case_id)
        image_name = case_id_of(Path(entry["image"])) if entry.get("image") else ""
        is_others = image_name.casefold() != case_id.casefold() and self._ids[image_name.casefold()] > 0
        if image_name and (is_others or any(self._is_doubtful(name, image_name) for name in (case_id, image_name))):
            if results := self._results(case_id, image_name):
                return self._by_content(entry, found, results)
        elif not found and image_name:
            found = self._there(image_name)
        if not found:
            raise self._none(case_id)
        return self._only(found, case_id)

    def find_any(self, entry: Mapping[str, Any]) -> Path | None:
        """As `find`, but None where there is none."""
        try:
            return self.find(entry)
        except LungSegError:
            return None

    def _there(self, name: str) -> list[Path]:
        places = [self.folder / name / CaseFolder.LABELS, *(self.folder / f"{name}{ending}" for ending in ENDINGS)]
        return [place for place in places if place.is_file()]

    def _numbered_names(self, image_name: str) -> list[str]:
        """What `segment` calls its results for the images of one name: `name`, `name-2`, ..."""
        several = range(2, self._image_names[image_name.casefold()] + 1)
        return [image_name, *(f"{image_name}-{number}" for number in several)]

    def _is_doubtful(self, name: str, image_name: str) -> bool:
        """Whether `segment` may have given this name to another case's image."""
        own, claiming = image_name.casefold(), self._claims.get(name.casefold(), set())
        return bool(claiming - {own}) or (own in claiming and self._image_names[own] > 1)

    def _results(self, case_id: str, image_name: str) -> list[Path]:
        """Folders that `segment` or `batch` may have written for a case."""
        names = dict.fromkeys([case_id, *self._numbered_names(image_name)])
        return [place for name in names if (place := self.folder / name / CaseFolder.LABELS).is_file()]

    def _by_content(self, entry: Mapping[str, Any], found: list[Path], results: Sequence[Path]) -> Path:
        """Among results whose names may be several cases', the one that was made of this CT."""
        files = [place for place in found if place.name != CaseFolder.LABELS]
        stated = {place: _crc32_of(place) for place in results}
        if any(stated.values()):
            own = voxels_crc32(read_volume(entry["image"], self._read))
            files += [place for place, crc32 in stated.items() if crc32 == own]
        else:  # results of earlier versions do not say what they were made of
            files = found
        if not files:
            raise self._none(entry["case_id"], f"; {len(results)} results under such names are of other CTs")
        return self._only(files, entry["case_id"])

    def _only(self, found: list[Path], case_id: str) -> Path:
        if len(found) > 1:
            names = " and ".join(place.relative_to(self.folder).as_posix() for place in found)
            text = f"{case_id}: {self.folder.name} has several predictions of it, {names}."
            raise LungSegError("E_DUPLICATE_CASE", text, "Take all but one away.")
        return found[0]

    def _none(self, case_id: str, more: str = "") -> IntakeError:
        text = f"{case_id}: {self.folder.name} has neither {case_id}/{CaseFolder.LABELS} nor {case_id}.nii.gz{more}"
        return IntakeError("E_NO_PREDICTION", text, "Segment the case, or leave it out of the split.")


def _crc32_of(result: Path) -> str:
    """What the record beside a result says of the CT's voxels; "" where it says nothing."""
    try:
        record = CaseFolder(result.parent).content()
        return str(record["source"]["voxels_crc32"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
