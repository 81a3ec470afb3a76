"""`explain`: which part of a CT spoke for a nodule that was found, as a picture and as a map (Grad-CAM).

In: a CT, or the results of `segment` and the CT they are of; a nodule; a layer. Out: a PNG and a NIfTI file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from lungseg3d.core import (
    NO_LUNGS,
    CaseResult,
    IntakeError,
    QualityIssue,
    UsageError,
    Volume,
    joined_maps,
)
from lungseg3d.core.labels import LUNGS
from lungseg3d.inference import (
    Bundle,
    Layer,
    SegmentLungsd,
    default_layer,
    grad_cam,
    list_layers,
    nodule_windows,
    open_bundle,
    shipped_bundle,
)
from lungseg3d.inference.review.nodule_windows import LEAST_SIDE
from lungseg3d.io import (
    MAP_STEPS,
    CaseFolder,
    make_folder,
    open_ct,
    read_labels,
    trusting_bundles,
    write_bytes,
    write_map,
)
from lungseg3d.report import Scene, explanation_picture
from lungseg3d.tensors import resolve_precision, to_meta_tensor
from lungseg3d.workflows.listing.maps import read_findings
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_or_refuse
from lungseg3d.workflows.segment.models import resolve_device

_HU_TOLERANCE = 2.0


@dataclass(frozen=True)
class ExplainOptions:
    """What may be asked of `explain`.

    Attributes:
        nodule: number of a nodule or of a candidate, as the report has it; 1 is the surest.
        layer: of the finding network, as `network_layers` names it; None takes the last before the answer.
        ct: of a result; None for a CT that is segmented first.
        segment: how the CT is read and segmented; bundles and device.
    """

    nodule: int = 1
    layer: str | None = None
    ct: Path | None = None
    segment: SegmentOptions = field(default_factory=SegmentOptions)


@dataclass(frozen=True)
class Explained:
    """What was written.

    Attributes:
        picture, heat_map: the files.
        layer: that was explained.
        inside: share of all heat that lies within the nodule's mask, 0 to 1.
        issues: what a reader must know.
        reason: of a candidate, why it is not in the list of nodules, a key of `core.CANDIDATE_REASONS`; else empty.
    """

    picture: Path
    heat_map: Path
    layer: str
    inside: float
    issues: tuple[QualityIssue, ...] = ()
    reason: str = ""


def network_layers(options: SegmentOptions) -> list[Layer]:
    """The layers of the finding network that can be explained, in the order in which they run."""
    return list_layers(_open(options).network, torch.zeros(1, LEAST_SIDE, LEAST_SIDE, LEAST_SIDE))


def explain(source: Path, out: Path | None, options: ExplainOptions) -> Explained:
    """Write `explanation-nodule-<N>-<layer>.png` and `.nii.gz` beside the results.

    Args:
        source: a folder of results of `segment`; or a CT, which is segmented into `out` first.
        out: folder; None for the folder of the results, and for a CT the current one.
        options: see `ExplainOptions`.

    Raises:
        UsageError: E_NO_CT for results without their CT, E_NO_NODULE, E_NO_LAYER.
        IntakeError: E_OTHER_CT for another CT than the results are of, and whatever reading raises.
        BundleError, OutputError: as in `segment`.
    """
    results = CaseFolder(source)
    if results.has_record:
        path = options.ct
        if path is None:
            text = f"{source.name}: results do not say where their CT lies."
            raise UsageError("E_NO_CT", text, "Give it: lungseg3d explain RESULTS --ct CT.")
    else:
        (results,) = segment_or_refuse([source], out or Path.cwd(), options.segment, _refusal_of)
        path = source
        out = None  # beside the results
    result = _record_of(results)
    bundle = _open(options.segment)
    ct = open_ct(path, options.segment.read).volume
    labels, nodules = read_labels(results.labels), read_findings(results, len(result.candidates)).all
    _check_ct(results, result, ct, nodules, options.nodule)
    windows = list(nodule_windows(_working_image(ct, labels, bundle), nodules, {options.nodule}))
    if not windows:
        text = f"{results.name}: there is no finding {options.nodule}."
        raise UsageError("E_NO_NODULE", text, _numbers_there(result, nodules))
    layer = options.layer or default_layer(list_layers(bundle.network, windows[0].image))
    heat = grad_cam(bundle.network, windows[0], layer)
    inside = float(heat[windows[0].mask].sum() / heat.sum()) if heat.any() else 0.0
    part = windows[0].on_source(heat, ct.grid)
    folder = out or results.path
    make_folder(folder)
    stem = f"explanation-nodule-{options.nodule}-{layer.replace('.', '-')}"
    picture, heat_map = folder / f"{stem}.png", folder / f"{stem}.nii.gz"
    write_map(heat_map, ct.with_array(joined_maps([part], ct.shape, MAP_STEPS)))
    scene = Scene.of(ct, labels, nodules)
    reason = next((finding.reason for finding in result.candidates if finding.id == options.nodule), "")
    kind = "Candidate" if reason else "Nodule"
    write_bytes(picture, explanation_picture(scene, options.nodule, part.as_ras(ct.grid), layer, kind))
    return Explained(picture, heat_map, layer, inside, _other_weights(result, bundle.weights_sha256), reason)


def _refusal_of(source: Path, result: CaseResult) -> IntakeError:
    """Why there is nothing to explain, by the issue that stopped the case."""
    issue = next(issue for issue in result.issues if issue.code.startswith(("E_", "W_NO_LUNG")))
    return IntakeError("E_NOT_A_RESULT" if result.status == NO_LUNGS else issue.code, issue.message, issue.remedy)


def _open(options: SegmentOptions) -> Bundle:
    """The nodule bundle; without the one for lungs, as they are known."""
    root = options.nodule_bundle or shipped_bundle("lung_nodule_ct_segmentation")
    device = resolve_device(options.device)
    precision = resolve_precision(options.precision, device)
    with trusting_bundles(options.trust_bundle):
        return open_bundle(root, skip=1, roi="full", device=device, precision=precision)


def _record_of(results: CaseFolder) -> CaseResult:
    """The record of a case that has nodules.

    Raises:
        UsageError: E_NO_NODULE for a case that was not segmented, or a record that cannot be read.
    """
    try:
        result = results.record()
    except IntakeError as error:
        cause = error.__cause__
        text = f"{results.name}: {results.RECORD} cannot be read ({type(cause).__name__}: {cause})."
        raise UsageError("E_NO_NODULE", text, "Segment the CT again.") from cause
    if result.status != "done":
        said = "no lungs were found in this case" if result.status == NO_LUNGS else f"this case was {result.status}"
        raise UsageError("E_NO_NODULE", f"{results.name}: {said}, so it has no nodules.")
    return result


def _numbers_there(result: CaseResult, findings: Volume) -> str:
    """Which numbers can be asked for: those of the record that have voxels."""
    count, last = len(result.nodules), int(findings.array.max(initial=0))
    if not last:
        return "None was found in this CT."
    if not result.candidates:
        return f"There are nodules 1 to {last}." if last > 1 else "There is nodule 1."
    several = last > count + 1
    behind = f"behind the list candidate{'s' if several else ''} {f'{count + 1} to ' if several else ''}{last}"
    if not count:
        return (
            f"No nodule is listed; there is {behind}." if not several else f"No nodule is listed; there are {behind}."
        )
    return f"There are nodules 1 to {count}, and {behind}." if count > 1 else f"There is nodule 1, and {behind}."


def _check_ct(source: CaseFolder, result: CaseResult, ct: Volume, nodules: Volume, number: int) -> None:
    """The CT of the results, not another: the same grid, and the same HU inside the finding."""
    if not ct.grid.matches(nodules.grid):
        text = f"{source.name}: the CT has {ct.grid}, the results {nodules.grid}."
        raise IntakeError("E_OTHER_CT", text, "Give the CT that was segmented.")
    known = next((finding.density.mean_hu for finding in result.findings if finding.id == number), None)
    mask = nodules.array == number
    if known is None or not mask.any():
        return
    found = float(ct.array[mask].mean())
    if abs(found - known) > _HU_TOLERANCE:
        text = f"{source.name}: finding {number} has {known:.0f} HU in the results and {found:.0f} HU in this CT."
        raise IntakeError("E_OTHER_CT", text, "Give the CT that was segmented, read with the same options.")


def _other_weights(result: CaseResult, ours: str) -> tuple[QualityIssue, ...]:
    theirs = result.provenance.get("bundles", {}).get("nodules", {}).get("weights_sha256", ours)
    if theirs == ours:
        return ()
    text = f"the results were made by weights {theirs[:12]}, the explanation by {ours[:12]}."
    return (QualityIssue("W_OTHER_WEIGHTS", text, "Give the bundle of the results by --nodule-bundle."),)


def _working_image(ct: Volume, labels: Volume, bundle: Bundle) -> torch.Tensor:
    """What the network saw, from results: where the lungs are is known, so stage 1 need not run again."""
    lungs = labels.array > 0 if np.isin(labels.array, [lung.value for lung in LUNGS]).any() else np.ones(ct.shape, bool)
    data: dict[str, Any] = {"image": to_meta_tensor(ct), "lungs": to_meta_tensor(labels)}
    data["roi"] = to_meta_tensor(labels.with_array(lungs.astype(np.uint8)))
    for step in bundle.preprocessing.transforms:
        if not isinstance(step, SegmentLungsd):
            data = Compose([step])(data)
    image: torch.Tensor = data["image"]
    return image
