"""Floor 2: CTs and label maps in, results out. The one reader, and the one way onto the disk.

In: DICOM series, NIfTI, NRRD, MetaImage, RTSTRUCT. Out: `Volume`, `Reading`, `Inspection`, masks; files written whole.
What every code means is in `lungseg3d.core.codes`.
"""

from lungseg3d.io.bundle.folders import shipped_bundle
from lungseg3d.io.bundle.reading import bundle_folder, read_once
from lungseg3d.io.bundle.scan import CheckedBundle, check_bundle, check_override, is_trusting, trusting_bundles
from lungseg3d.io.bundle.weights import pin_weights, pinned_weights, read_pins, read_weights
from lungseg3d.io.cases.listing import list_cases, list_studies
from lungseg3d.io.cases.names import CaseNames, as_paths, case_id_of, is_case_name
from lungseg3d.io.cases.patients import PatientHeader, read_patient
from lungseg3d.io.cases.results import CaseFolder
from lungseg3d.io.cases.same_person import PersonComparison, compare_persons
from lungseg3d.io.cases.tree import CaseSource, CaseTree, find_cases
from lungseg3d.io.decoding.client import begin_decoding
from lungseg3d.io.decoding.process_limits import (
    ending_of,
    free_memory_bytes,
    is_out_of_memory,
    kernel_kills,
    limit_memory,
)
from lungseg3d.io.dicom_headers.instances import SeriesFiles, find_series, instance_uids
from lungseg3d.io.dicom_headers.study_dates import TimeBetween, time_between
from lungseg3d.io.dicom_headers.time_point_headers import time_point_header
from lungseg3d.io.dicom_objects.follow_up_sr import TimePointSeg, make_follow_up_sr, read_time_point_seg
from lungseg3d.io.dicom_objects.rtstruct import Structure, StructureSet, read_structures
from lungseg3d.io.dicom_objects.rtstruct_masks import StructureMask, check_reference, draw_structures
from lungseg3d.io.dicom_objects.seg import Algorithm, Masks, list_segments, make_dicom_seg
from lungseg3d.io.dicom_objects.series_writer import SeriesSpec, write_dicom_series
from lungseg3d.io.dicom_objects.source_series import SourceSeries, find_source_series, has_no_series, missing_objects
from lungseg3d.io.dicom_objects.sr import Measured, make_dicom_sr
from lungseg3d.io.intake.geometry import to_ras_mm
from lungseg3d.io.intake.links import LINK_CODES, LeftLink, LinkRule, left_links, link_rule, links_text
from lungseg3d.io.intake.memory_budget import MemoryBudget
from lungseg3d.io.intake.reading import APART, Inspection, Reading, ReadOptions, SeriesInfo
from lungseg3d.io.reader import inspect, open_ct, read_labels, read_volume
from lungseg3d.io.storage.case_folders import FolderLock, place_folder, recover, remove_folder, set_aside
from lungseg3d.io.storage.digests import joined_sha256, sha256_of, signature_of, voxels_crc32
from lungseg3d.io.storage.downloads import download
from lungseg3d.io.storage.files import copy_file, placing, take_lock, write_bytes, write_text, writing
from lungseg3d.io.storage.folders import (
    check_writable,
    link_to,
    make_folder,
    placing_folder,
    placing_together,
    remove_unfinished,
)
from lungseg3d.io.storage.growing import growing, open_to_append, scratch_file
from lungseg3d.io.storage.nifti_writer import MAP_STEPS, write_labels, write_map, write_volume
from lungseg3d.io.storage.same_file import file_key, find_twin
from lungseg3d.io.storage.tars import unpack_tar

__all__ = [
    "APART",
    "LINK_CODES",
    "MAP_STEPS",
    "Algorithm",
    "CaseFolder",
    "CaseNames",
    "CaseSource",
    "CaseTree",
    "CheckedBundle",
    "FolderLock",
    "Inspection",
    "LeftLink",
    "LinkRule",
    "Masks",
    "Measured",
    "MemoryBudget",
    "PatientHeader",
    "PersonComparison",
    "ReadOptions",
    "Reading",
    "SeriesFiles",
    "SeriesInfo",
    "SeriesSpec",
    "SourceSeries",
    "Structure",
    "StructureMask",
    "StructureSet",
    "TimeBetween",
    "TimePointSeg",
    "as_paths",
    "begin_decoding",
    "bundle_folder",
    "case_id_of",
    "check_bundle",
    "check_override",
    "check_reference",
    "check_writable",
    "compare_persons",
    "copy_file",
    "download",
    "draw_structures",
    "ending_of",
    "file_key",
    "find_cases",
    "find_series",
    "find_source_series",
    "find_twin",
    "free_memory_bytes",
    "growing",
    "has_no_series",
    "inspect",
    "instance_uids",
    "is_case_name",
    "is_out_of_memory",
    "is_trusting",
    "joined_sha256",
    "kernel_kills",
    "left_links",
    "limit_memory",
    "link_rule",
    "link_to",
    "links_text",
    "list_cases",
    "list_segments",
    "list_studies",
    "make_dicom_seg",
    "make_dicom_sr",
    "make_folder",
    "make_follow_up_sr",
    "missing_objects",
    "open_ct",
    "open_to_append",
    "pin_weights",
    "pinned_weights",
    "place_folder",
    "placing",
    "placing_folder",
    "placing_together",
    "read_labels",
    "read_once",
    "read_patient",
    "read_pins",
    "read_structures",
    "read_time_point_seg",
    "read_volume",
    "read_weights",
    "recover",
    "remove_folder",
    "remove_unfinished",
    "scratch_file",
    "set_aside",
    "sha256_of",
    "shipped_bundle",
    "signature_of",
    "take_lock",
    "time_between",
    "time_point_header",
    "to_ras_mm",
    "trusting_bundles",
    "unpack_tar",
    "voxels_crc32",
    "write_bytes",
    "write_dicom_series",
    "write_labels",
    "write_map",
    "write_text",
    "write_volume",
    "writing",
]
