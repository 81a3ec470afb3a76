"""Floor 2: datasets, the thorax phantom, synthetic nodules. NumPy and SciPy, never torch."""

from lungseg3d.data.csv_files import read_csv
from lungseg3d.data.folds import assign_folds, check_split
from lungseg3d.data.implants import Donor, free_places, implant
from lungseg3d.data.label_checks import (
    count_values,
    inverted_issue,
    label_issues,
    shape_issues,
    value_issue,
    with_case,
)
from lungseg3d.data.leakage import (
    TRAINING_CASES,
    SeenCase,
    read_training_record,
    trained_on,
    trained_on_issue,
    training_record,
    training_text,
)
from lungseg3d.data.manifests import (
    BACKGROUND_NAME,
    MANIFEST_NAME,
    known_values,
    label_structures,
    load_datalist,
    make_nodules_luna_manifest,
    manifest_text,
    phantom_datalist,
    read_manifest,
)
from lungseg3d.data.patients import assumed_patients, join_patients
from lungseg3d.data.phantom.nodules import (
    NoduleSpec,
    Texture,
    make_nodule_specs,
    nodule_box,
    nodule_hu,
    nodule_occupancy,
)
from lungseg3d.data.phantom.thorax import Phantom, PhantomNodule, PhantomSpec, make_phantom
from lungseg3d.data.public.boxes import SliceBox, read_box_xml
from lungseg3d.data.public.catalogue import (
    DATASETS,
    FOLDER,
    LIDC,
    LUNA16,
    LUNG_PET_CT_DX,
    MSD_LUNG,
    NSCLC_RADIOMICS,
    Archive,
    Dataset,
)
from lungseg3d.data.public.lidc_nodules import ConsensusRule, LidcNodule, draw_mark, find_lidc_nodules, group_marks
from lungseg3d.data.public.lidc_xml import LidcContour, LidcMark, LidcReading, read_lidc_xml
from lungseg3d.data.public.luna16 import LunaFinding, read_luna_findings
from lungseg3d.data.public.pairs import Pair, list_pairs

__all__ = [
    "BACKGROUND_NAME",
    "DATASETS",
    "FOLDER",
    "LIDC",
    "LUNA16",
    "LUNG_PET_CT_DX",
    "MANIFEST_NAME",
    "MSD_LUNG",
    "NSCLC_RADIOMICS",
    "TRAINING_CASES",
    "Archive",
    "ConsensusRule",
    "Dataset",
    "Donor",
    "LidcContour",
    "LidcMark",
    "LidcNodule",
    "LidcReading",
    "LunaFinding",
    "NoduleSpec",
    "Pair",
    "Phantom",
    "PhantomNodule",
    "PhantomSpec",
    "SeenCase",
    "SliceBox",
    "Texture",
    "assign_folds",
    "assumed_patients",
    "check_split",
    "count_values",
    "draw_mark",
    "find_lidc_nodules",
    "free_places",
    "group_marks",
    "implant",
    "inverted_issue",
    "join_patients",
    "known_values",
    "label_issues",
    "label_structures",
    "list_pairs",
    "load_datalist",
    "make_nodule_specs",
    "make_nodules_luna_manifest",
    "make_phantom",
    "manifest_text",
    "nodule_box",
    "nodule_hu",
    "nodule_occupancy",
    "phantom_datalist",
    "read_box_xml",
    "read_csv",
    "read_lidc_xml",
    "read_luna_findings",
    "read_manifest",
    "read_training_record",
    "shape_issues",
    "trained_on",
    "trained_on_issue",
    "training_record",
    "training_text",
    "value_issue",
    "with_case",
]
