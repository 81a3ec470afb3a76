"""A seed -> a spoilt seed, by the mutations that fit its format.

In: `Seed` and a random generator. Out: `Seed` of the same kind. Equal generators give equal inputs.
"""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from dataclasses import replace

from tests.fuzz.byte_mutations import spoil_bytes
from tests.fuzz.dicom_mutations import spoil_dicom
from tests.fuzz.image_mutations import spoil_gzip, spoil_header_lines, spoil_nifti
from tests.fuzz.json_mutations import spoil_manifest
from tests.fuzz.seeds import Seed

_MOST_BYTES = 2**18
_NAMES = (
    "../x.dcm",
    "/x.dcm",
    "a\\..\\..\\x",
    "s/0.dcm",
    "",
    "x" * 300,
    "\u202e.dcm",
    "s/",
    "a\nb",
    "DICOMDIR",
    ".x",
    "C:x",
)


def mutate(seed: Seed, rng: random.Random) -> Seed:
    """One to four mutations of one file; sometimes a file of a folder is lost, doubled or swapped."""
    files = dict(seed.files)
    if len(files) > 1 and rng.random() < 0.08:
        _rearrange(files, seed, rng)
    candidates = [seed.entry] if seed.kind == "manifest" else sorted(files)
    for name in [rng.choice(candidates)] if rng.random() < 0.9 else candidates:
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            files[name] = _spoil(seed.kind, name, files[name], rng)[:_MOST_BYTES]
    return replace(seed, files=files)


def _spoil(kind: str, name: str, data: bytes, rng: random.Random) -> bytes:
    aware = _BY_KIND.get(kind)
    if aware is None or name.endswith(".raw") or rng.random() < 0.35:
        return spoil_bytes(data, rng)
    return aware(data, rng)


def _rearrange(files: dict[str, bytes], seed: Seed, rng: random.Random) -> None:
    names = sorted(files)
    one, two = rng.sample(names, 2)
    choice = rng.randrange(4)
    if choice == 0 and one != seed.entry:
        del files[one]
    elif choice == 1:
        files[one], files[two] = files[two], files[one]
    elif choice == 2:
        files[one] = b""
    else:
        files["sub/" + one] = files[one]


def _spoil_zip(data: bytes, rng: random.Random) -> bytes:
    """Members spoilt, renamed, doubled, or written in another method; then packed again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()[:6] if info.file_size < 2**18]
    except Exception:  # the archive is spoilt already, in any of the ways in which zipfile fails
        return spoil_bytes(data, rng)
    if not members:
        return spoil_bytes(data, rng)
    at = rng.randrange(len(members))
    name, inner = members[at]
    choice = rng.randrange(5)
    if choice <= 2:
        members[at] = (name, spoil_dicom(inner, rng))
    elif choice == 3:
        members[at] = (rng.choice(_NAMES), inner)
    else:
        members.append((rng.choice((name, "t/9.dcm")), inner))
    packed = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    method = rng.choice(methods)
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w", method) as archive:
        warnings.filterwarnings("ignore", "Duplicate name")  # a name that occurs twice is one of the mutations
        for number, (member, content) in enumerate(members):
            info = zipfile.ZipInfo(member or "-")
            info.compress_type = method
            if number == at and rng.random() < 0.05:
                info.external_attr = 0o120777 << 16  # a symbolic link
            archive.writestr(info, content)
    return packed.getvalue()


_BY_KIND = {
    "dicom folder": spoil_dicom,
    "dicom slice": spoil_dicom,
    "enhanced": spoil_dicom,
    "zip": _spoil_zip,
    "nifti": spoil_nifti,
    "nifti.gz": spoil_gzip,
    "nrrd": spoil_header_lines,
    "metaimage": spoil_header_lines,
    "manifest": spoil_manifest,
}
