"""`evaluate`: a manifest's references and a folder of predictions in; what the predictions are worth out.

In: a manifest, a split, one or two folders of predictions. Out: `cases.csv`, `nodules.csv`, `summary.json` and
`evaluation.html` in a folder, the same for the same input. One bad case never stops the others.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungseg3d.core import BundleError, LungSegError, QualityIssue, UsageError, to_json
from lungseg3d.core.errors import fault_of
from lungseg3d.core.labels import NODULE
from lungseg3d.data import label_structures, load_datalist, read_manifest, trained_on, trained_on_issue
from lungseg3d.inference import shipped_bundle
from lungseg3d.io import check_writable, joined_sha256, placing_together, read_volume, sha256_of, write_text
from lungseg3d.metrics import LEAST_IOU, OperatingPoint, pick_operating_point
from lungseg3d.report import WorstCase, disagreement_view, render_evaluation
from lungseg3d.workflows.evaluate_cases import CaseScore, NoduleScore, score_case
from lungseg3d.workflows.evaluate_inputs import Rules, find_prediction, read_pair
from lungseg3d.workflows.evaluate_means import plain
from lungseg3d.workflows.evaluate_nodules import scan_matches
from lungseg3d.workflows.evaluate_summary import METRICS, paired_comparison, summary_of
from lungseg3d.workflows.settings import SETTINGS_NAME, settings_text

logger = logging.getLogger(__name__)

OnProgress = Callable[[str, str, float], None]
MOST_PICTURES = 10


@dataclass(frozen=True)
class EvaluateOptions:
    """What may be asked of `evaluate`.

    Attributes:
        data: folder that the manifest's paths start from; None for the folder of the manifest.
        split: name of a split; None for every case.
        fold: number of a fold; None for every case.
        against: another folder of predictions of the same cases.
        bundle: whose weights made the predictions; None for the shipped ones that the results of `segment` name.
        least_iou: overlap from which a nodule is found.
        pictures: whether the worst cases are drawn, for which their CTs are read.
        track: whether means and files go to MLflow.
        operating_point: false positives a scan for which a confidence cut is wanted, as `settings.json`; None: no cut.
    """

    data: Path | None = None
    split: str | None = None
    fold: int | None = None
    against: Path | None = None
    bundle: Path | None = None
    least_iou: float = LEAST_IOU
    pictures: bool = True
    track: bool = False
    operating_point: float | None = None


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation came to.

    Attributes:
        content: what `summary.json` holds.
        statuses: `done` or `failed` of each case.
        page: the HTML file.
        point: the operating point, where one was asked for.
    """

    content: Mapping[str, Any]
    statuses: list[str]
    page: Path
    point: OperatingPoint | None = None


def evaluate(
    manifest: Path | str,
    predictions: Path,
    out: Path,
    options: EvaluateOptions = EvaluateOptions(),
    on_progress: OnProgress | None = None,
) -> Evaluated:
    """Measure every prediction against its reference.

    Args:
        manifest: file, or name of a shipped one; its cases need a `label`, and it says in `structures` what the values
            mean.
        predictions: results of `segment`, or one label map a case; see `read_pair`.
        out: folder for what is written.
        options: see `EvaluateOptions`.
        on_progress: told (case id, step, fraction 0 to 1).

    Raises:
        LungSegError: E_MANIFEST, E_MISSING_DATA, before any work.
        UsageError: E_NO_SPLIT for a split or fold that the manifest has not; E_OPERATING_POINT where no cut has the
            wanted rate of false positives. Nothing was written then.
    """
    content = read_manifest(manifest)
    structures = label_structures(content)
    entries = _chosen(manifest, content, options)
    rules = Rules(structures, content.get("ignore_margin_voxels", 0))
    told = on_progress or (lambda *_: None)
    check_writable(out)
    scores = _score_all(entries, predictions, rules, options.least_iou, told)
    facts: dict[str, Any] = {
        "manifest": content.get("name", Path(manifest).stem),
        "split": options.split or ("" if options.fold is None else f"fold {options.fold}"),
        "predictions": predictions.absolute().name,
        "against": options.against.absolute().name if options.against else None,
        "least_iou": options.least_iou,
        "ignored": any(entry.get("ignore") for entry in entries),
        "ignore_margin_voxels": rules.ignore_margin_voxels,
        "warnings": [to_json(issue) for issue in _seen_in_training(content, entries, predictions, options.bundle)],
        "comparison": None,
    }
    if options.against:
        others = _score_all(entries, options.against, rules, options.least_iou, told)
        facts["comparison"] = paired_comparison(scores, others)
    summary = summary_of(scores, **facts)
    point = _operating_point(scores, options)
    worst = _worst(scores, entries, predictions, rules) if options.pictures else []
    texts = {"cases.csv": _cases_csv(scores)}
    if any(NODULE.name in score.structures for score in scores):
        texts["nodules.csv"] = _nodules_csv(scores)
    if point is not None:
        chosen_on = {key: facts[key] for key in ("manifest", "split")}
        texts[SETTINGS_NAME] = settings_text(point, _weights_of(entries, predictions), chosen_on)
    texts["evaluation.html"] = render_evaluation(summary, worst)
    texts["summary.json"] = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with placing_together(out, last="summary.json") as stage:
        for name, text in texts.items():
            write_text(stage / name, text)
    if options.track:
        from lungseg3d.workflows.evaluate_tracking import track_evaluation

        track_evaluation(summary, out, [out / name for name in texts])
    statuses = ["done" if score.issue is None else "failed" for score in scores]
    return Evaluated(summary, statuses, out / "evaluation.html", point)


def _chosen(manifest: Path | str, content: Mapping[str, Any], options: EvaluateOptions) -> list[dict[str, Any]]:
    data = options.data or Path(manifest).parent
    entries = load_datalist(manifest, data, options.fold, held_out=options.fold is not None)
    if options.split is not None:
        entries = [entry for entry in entries if entry.get("split") == options.split]
    if not entries:
        splits = sorted({str(case["split"]) for case in content["cases"] if case.get("split")})
        folds = sorted({case["fold"] for case in content["cases"] if case.get("fold") is not None})
        there = f"Splits: {', '.join(splits) or 'none'}; folds: {', '.join(map(str, folds)) or 'none'}."
        asked = f"split {options.split}" if options.split is not None else f"fold {options.fold}"
        raise UsageError("E_NO_SPLIT", f"{content.get('name', manifest)} has no case in {asked}", there)
    if lone := next((entry["case_id"] for entry in entries if "label" not in entry), None):
        raise LungSegError("E_MANIFEST", f"{lone} has no label, so there is nothing to compare with", "Name its file.")
    return entries


def _operating_point(scores: Sequence[CaseScore], options: EvaluateOptions) -> OperatingPoint | None:
    if options.operating_point is None:
        return None
    matches = scan_matches([score for score in scores if score.issue is None])
    try:
        if not matches:
            raise ValueError("the predictions have no confidences")
        return pick_operating_point(matches, options.operating_point)
    except ValueError as error:
        way_out = "Allow more false positives, or give more cases with references and results of segment."
        raise UsageError("E_OPERATING_POINT", f"{error}.", way_out) from error


def _seen_in_training(
    content: Mapping[str, Any], entries: Sequence[Mapping[str, Any]], predictions: Path, bundle: Path | None
) -> list[QualityIssue]:
    """W_TRAINED_ON for cases that the weights have seen, as far as their bundle says."""
    chosen = {entry["case_id"] for entry in entries}
    cases = [case for case in content["cases"] if case["case_id"] in chosen]
    bundles = [bundle] if bundle else _bundles_of(entries, predictions)
    seen = {case.case_id: case for root in bundles for case in trained_on(root, cases, content.get("name", ""))}
    issue = trained_on_issue(list(seen.values()), len(cases))
    return [issue] if issue else []


def _bundles_of(entries: Sequence[Mapping[str, Any]], predictions: Path) -> list[Path]:
    """The shipped bundles whose weights the first result of `segment` names by their checksum."""
    found: list[Path] = []
    # A record that says it in another way, or of weights that did not ship, names no bundle that is known here.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, BundleError):
        for about in _named_bundles(entries, predictions).values():
            root = shipped_bundle(about["name"])
            if sha256_of(root / "models" / "model.pt") == about["weights_sha256"]:
                found.append(root)
    return found


def _weights_of(entries: Sequence[Mapping[str, Any]], predictions: Path) -> str:
    """SHA-256 of the networks behind the predictions' confidences; empty where they do not say."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        about = _named_bundles(entries, predictions)["nodules"]
        return joined_sha256(str(about["weights_sha256"]), str(about.get("judge_sha256", "")))
    return ""


def _named_bundles(entries: Sequence[Mapping[str, Any]], predictions: Path) -> dict[str, Any]:
    """What the first result of `segment` says of its bundles; empty without a result."""
    found_maps = (find_prediction(entry, predictions) for entry in entries)
    results = (path.with_name("result.json") for path in found_maps if path is not None)
    result = next((path for path in results if path.is_file()), None)
    return json.loads(result.read_text(encoding="utf-8"))["provenance"]["bundles"] if result else {}


def _score_all(
    entries: Sequence[Mapping[str, Any]], predictions: Path, rules: Rules, least_iou: float, on_progress: OnProgress
) -> list[CaseScore]:
    scores = []
    for number, entry in enumerate(entries):
        on_progress(f"evaluating {predictions.name}", entry["case_id"], number / len(entries))
        try:
            scores.append(score_case(entry, read_pair(entry, predictions, rules), least_iou))
        except Exception as error:  # one case, whatever is wrong with it, never stops the others
            issue = _issue_of(error, entry["case_id"])
            scores.append(CaseScore(entry["case_id"], entry.get("patient") or entry["case_id"], issue=issue))
    return scores


def _issue_of(error: Exception, case_id: str) -> QualityIssue:
    if isinstance(error, LungSegError):
        return QualityIssue(error.code, error.message, error.remedy)
    logger.debug("%s failed", case_id, exc_info=True)
    return QualityIssue("E_UNEXPECTED", f"{case_id}: {fault_of(error)}.", "Please report this.")


def _worst(
    scores: Sequence[CaseScore], entries: Sequence[Mapping[str, Any]], predictions: Path, rules: Rules
) -> list[WorstCase]:
    """The cases with the lowest Dice of any structure, drawn."""
    judged = []
    for score, entry in zip(scores, entries, strict=True):
        if score.issue is None:
            name, values = min(score.structures.items(), key=lambda item: item[1]["dice"] or 0.0)
            judged.append((values["dice"] or 0.0, score.case_id, name, entry))
    worst = []
    for value, case_id, name, entry in sorted(judged, key=lambda item: item[:2])[:MOST_PICTURES]:
        image, slice_number = None, None
        try:
            pair, hu = read_pair(entry, predictions, rules), read_volume(entry["image"]).as_ras()
            if hu.grid.matches(pair.grid):
                masks = pair.prediction[name], pair.reference[name]
                view = disagreement_view(hu.array, *masks, pair.grid.spacing_mm)
                image, slice_number = view.image, view.slice_number
        except (LungSegError, KeyError) as error:
            logger.warning("%s cannot be drawn: %s", case_id, error)
        worst.append(WorstCase(case_id, name, value, image, slice_number))
    return worst


def _cases_csv(scores: Sequence[CaseScore]) -> str:
    """One row a case and structure; a case that could not be evaluated has a row with its code."""
    rows: list[dict[str, Any]] = []
    columns = ("case_id", "patient", "structure", *METRICS, "reference_mm3", "predicted_mm3", "issue")
    for score in scores:
        common = {"case_id": score.case_id, "patient": score.patient}
        if score.issue is not None:
            rows.append(common | {"issue": score.issue.code})
        rows += [common | {"structure": name, **values} for name, values in score.structures.items()]
    return _csv(rows, columns)


def _nodules_csv(scores: Sequence[CaseScore]) -> str:
    """One row a nodule of the reference, found or missed, and one a false one."""
    columns = [field.name for field in dataclasses.fields(NoduleScore)]
    rows = [
        {"case_id": score.case_id, "patient": score.patient, **dataclasses.asdict(nodule)}
        for score in scores
        for nodule in score.nodules
    ]
    for row in rows:
        row["centre_ras_mm"] = " ".join(f"{mm:g}" for mm in row["centre_ras_mm"])
    return _csv(rows, ("case_id", "patient", *columns))


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else plain(value) for key, value in row.items()})
    return text.getvalue()
