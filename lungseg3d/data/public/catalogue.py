"""The public datasets that can be prepared: where they come from, under which licence, how to get them.

In: a name. Out: `Dataset` rows. Downloads nothing and reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_TCIA = "Download it with the NBIA Data Retriever from https://www.cancerimagingarchive.net/collection/{page}/"


@dataclass(frozen=True)
class Archive:
    """One file that anyone may download: address, size limit, MD5 as its publisher states it."""

    url: str
    md5: str
    most_bytes: int
    folder: str


@dataclass(frozen=True)
class Dataset:
    """One public dataset.

    Attributes:
        name: as the command line has it.
        source: title, authors, paper.
        licence: of the data; it binds whoever trains on them.
        how_to_get: one sentence for people.
        looks_like: what its folder holds, for messages.
        archive: where it can be downloaded from; None where its publisher gives it out by a program or a form.
    """

    name: str
    source: str
    licence: str
    how_to_get: str
    looks_like: str
    archive: Archive | None = None


LIDC = Dataset(
    "lidc",
    "LIDC-IDRI (Armato et al. 2011, Med Phys 38:915; TCIA, doi 10.7937/K9/TCIA.2015.LO9QL9SX)",
    "CC BY 3.0",
    _TCIA.format(page="lidc-idri") + ", the images and the annotation XML.",
    "DICOM series of CTs, and reading files *.xml beside them or in a folder of their own",
)
LUNA16 = Dataset(
    "luna16",
    "LUNA16 (Setio et al. 2017, Med Image Anal 42:1), CTs of LIDC-IDRI (Armato et al. 2011)",
    "CC BY 3.0 (images, LIDC-IDRI); CC BY 4.0 (LUNA16 annotations)",
    "Download subset0.zip to subset9.zip, seg-lungs-LUNA16.zip and the CSV files from "
    "https://luna16.grand-challenge.org/Download/ (Zenodo 3723295 and 4121926) and unpack them.",
    "subset0 to subset9 with *.mhd and *.raw, annotations.csv, seg-lungs-LUNA16",
)
MSD_LUNG = Dataset(
    "msd-lung",
    "Medical Segmentation Decathlon, Task06_Lung (Antonelli et al. 2022, Nat Commun 13:4128; "
    "Simpson et al. 2019, arXiv:1902.09063)",
    "CC BY-SA 4.0",
    "Run lungseg3d prepare msd-lung --download; or unpack Task06_Lung.tar of http://medicaldecathlon.com/.",
    "dataset.json, imagesTr, labelsTr",
    Archive(
        "https://msd-for-monai.s3-us-west-2.amazonaws.com/Task06_Lung.tar",
        "8afd997733c7fc0432f71255ba4e52dc",
        12 * 2**30,
        "Task06_Lung",
    ),
)
NSCLC_RADIOMICS = Dataset(
    "nsclc-radiomics",
    "NSCLC-Radiomics (Aerts et al. 2014, Nat Commun 5:4006; TCIA, doi 10.7937/K9/TCIA.2015.PF0M9REI)",
    "CC BY-NC 3.0: not for commercial use, nor for weights that may be used so",
    _TCIA.format(page="nsclc-radiomics") + ", CT and RTSTRUCT.",
    "a folder for each patient with a CT series and an RTSTRUCT",
)
LUNG_PET_CT_DX = Dataset(
    "lung-pet-ct-dx",
    "Lung-PET-CT-Dx (Li et al. 2020; TCIA, doi 10.7937/TCIA.2020.NNC2-0461)",
    "CC BY 4.0",
    _TCIA.format(page="lung-pet-ct-dx") + ", the images and the annotation XML.",
    "DICOM series of CTs, and box files <SOPInstanceUID>.xml",
)
FOLDER = Dataset(
    "folder",
    "a folder of images and labels",
    "not stated: as whoever made it allows",
    "",
    "images/ and labels/ with the same names, nnU-Net's imagesTr/case_0000.nii.gz and labelsTr/case.nii.gz, or a CSV "
    "with the columns image and label",
)

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {row.name: row for row in (LIDC, LUNA16, MSD_LUNG, NSCLC_RADIOMICS, LUNG_PET_CT_DX, FOLDER)}
)
