"""`evaluate`: a manifest's references and a folder of predictions in; what the predictions are worth out.

In: a manifest, a split, one or two folders of predictions. Out: `cases.csv`, `nodules.csv`, `summary.json` and
`evaluation.html` in a folder, the same for the same input. One bad case never stops the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lungseg3d.core import LungSegError, QualityIssue, UsageError, json_text, to_json
from lungseg3d.core.labels import NODULE
from lungseg3d.core.progress import OnProgress
from lungseg3d.data import known_values, label_structures, load_datalist, read_manifest, with_case
from lungseg3d.io import check_writable, placing_together, read_volume, write_text
from lungseg3d.metrics import LEAST_IOU, OperatingPoint, pick_operating_point
from lungseg3d.report import WorstCase, disagreement_view, render_evaluation
from lungseg3d.workflows.evaluate.cases import CaseScore, score_case
from lungseg3d.workflows.evaluate.inputs import Rules, as_recorded, read_pair
from lungseg3d.workflows.evaluate.nodules import confidence_of, scan_matches
from lungseg3d.workflows.evaluate.predictions import Predictions
from lungseg3d.workflows.evaluate.reader_list import mixed_issue, point_texts
from lungseg3d.workflows.evaluate.records import Results
from lungseg3d.workflows.evaluate.relisting import listing_at
from lungseg3d.workflows.evaluate.summary import paired_comparison, summary_of
from lungseg3d.workflows.evaluate.tables import case_scores_csv, nodule_scores_csv
from lungseg3d.workflows.evaluate.weights import trained_on_warnings, weights_of
from lungseg3d.workflows.listing.settings import SETTINGS_NAME, settings_text
from lungseg3d.workflows.prepare.faults import Fault, joined_warnings, manifest_faults, refuse_faults
from lungseg3d.workflows.prepare.reading import reading_of

logger = logging.getLogger(__name__)

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
        operating_point: `default`, `sensitive` or `fp=N` of the bundle, from which on findings are listed anew; None:
            the list is that of the results.
        fit_operating_point: false positives a scan for which a confidence cut is chosen here and written as
            `settings.json`; None: no cut.
    """

    data: Path | None = None
    split: str | None = None
    fold: int | None = None
    against: Path | None = None
    bundle: Path | None = None
    least_iou: float = LEAST_IOU
    pictures: bool = True
    track: bool = False
    operating_point: str | None = None
    fit_operating_point: float | None = None


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation came to.

    Attributes:
        content: what `summary.json` holds.
        statuses: `done` or `failed` of each case.
        page: the HTML file.
        point: the operating point that was chosen here, where one was asked for.
        is_calibrated: whether it was chosen by calibrated confidences.
    """

    content: Mapping[str, Any]
    statuses: list[str]
    page: Path
    point: OperatingPoint | None = None
    is_calibrated: bool = False


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
        LungSegError: E_MANIFEST, E_MISSING_DATA, E_DUPLICATE_CASE, E_SPLIT_LEAK, before any work.
        UsageError: E_NO_SPLIT for a split or fold that the manifest has not; E_OPERATING_POINT where no cut has the
            wanted rate of false positives, or the findings cannot be listed anew. Nothing was written then.
    """
    content = read_manifest(manifest)
    structures = label_structures(content)
    entries = _choose_entries(manifest, content, options)
    data = options.data or Path(manifest).parent
    sides = () if options.fold is None else ("fold",)
    faults = manifest_faults(content, data, sides)
    refuse_faults([fault for fault in faults if not fault.case_id], str(content.get("name", manifest)))
    rules = Rules(structures, content.get("ignore_margin_voxels", 0), known_values(content))
    told = on_progress or (lambda *_: None)
    check_writable(out)
    ours, theirs = (
        Predictions(folder, content["cases"], data, reading_of(content)) if folder else None
        for folder in (predictions, options.against)
    )
    assert ours is not None
    listing: Callable[[Results], Results] = as_recorded
    if options.operating_point is not None:
        listing = listing_at(options.operating_point, options.bundle, entries, ours)
    refused = {fault.case_id: fault.issue for fault in faults if fault.is_refusal}
    scores = _score_all(entries, ours, replace(rules, listing=listing), options.least_iou, refused, told)
    warnings = [*trained_on_warnings(content, entries, ours, options.bundle), *_warnings(faults, scores, entries)]
    facts: dict[str, Any] = {
        "manifest": content.get("name", Path(manifest).stem),
        "split": options.split or ("" if options.fold is None else f"fold {options.fold}"),
        "predictions": predictions.absolute().name,
        "against": options.against.absolute().name if options.against else None,
        "least_iou": options.least_iou,
        "ignored": any(entry.get("ignore") for entry in entries),
        "ignore_margin_voxels": rules.ignore_margin_voxels,
        "warnings": [to_json(issue) for issue in warnings],
        "comparison": None,
    }
    if theirs is not None:
        others = _score_all(entries, theirs, rules, options.least_iou, refused, told)
        facts["comparison"] = paired_comparison(scores, others)
    summary = summary_of(scores, **facts)
    confidence = confidence_of(scores)
    point = _fitted_point(scores, confidence, options.fit_operating_point)
    is_calibrated = confidence == "calibrated_confidence"
    worst = _worst(scores, entries, ours, rules) if options.pictures else []
    texts = {"cases.csv": case_scores_csv(scores)}
    if any(NODULE.name in score.structures for score in scores):
        texts["nodules.csv"] = nodule_scores_csv(scores)
    if point is not None:
        chosen_on = {key: facts[key] for key in ("manifest", "split")}
        texts[SETTINGS_NAME] = settings_text(point, weights_of(entries, ours), chosen_on, is_calibrated=is_calibrated)
    texts["evaluation.html"] = render_evaluation(summary, worst, point_texts(summary))
    texts["summary.json"] = json_text(summary)
    with placing_together(out, last="summary.json") as stage:
        for name, text in texts.items():
            write_text(stage / name, text)
    if options.track:
        from lungseg3d.workflows.evaluate.tracking import track_evaluation

        track_evaluation(summary, out, [out / name for name in texts])
    statuses = ["done" if score.issue is None else "failed" for score in scores]
    return Evaluated(summary, statuses, out / "evaluation.html", point, is_calibrated)


def _choose_entries(manifest: Path | str, content: Mapping[str, Any], options: EvaluateOptions) -> list[dict[str, Any]]:
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


def _warnings(
    faults: Sequence[Fault], scores: Sequence[CaseScore], entries: Sequence[Mapping[str, Any]]
) -> list[QualityIssue]:
    """One for each kind of thing that is odd about the manifest or the maps."""
    chosen = {entry["case_id"] for entry in entries}
    found = [fault for fault in faults if not fault.is_refusal and fault.case_id in chosen]
    found += [Fault(score.case_id, issue) for score in scores for issue in score.warnings]
    mixed = mixed_issue(scores)
    return [*([mixed] if mixed else []), *joined_warnings(found)]


def _fitted_point(scores: Sequence[CaseScore], confidence: str, rate: float | None) -> OperatingPoint | None:
    """The cut that leaves `rate` false positives a scan here; None where none was asked for."""
    if rate is None:
        return None
    done = [score for score in scores if score.issue is None]
    matches = scan_matches(done, confidence)
    try:
        if not matches:
            raise ValueError("the predictions have no confidences")
        return pick_operating_point(matches, rate, [score.patient for score in done])
    except ValueError as error:
        remedy = "Allow more false positives, or give more cases with references and results of segment."
        raise UsageError("E_OPERATING_POINT", f"{error}.", remedy) from error


def _score_all(
    entries: Sequence[Mapping[str, Any]],
    predictions: Predictions,
    rules: Rules,
    least_iou: float,
    refused: Mapping[str, QualityIssue],
    on_progress: OnProgress,
) -> list[CaseScore]:
    """Every case measured, or with the reason why it is not; `refused`: what forbids a case before it is read."""
    scores = []
    for number, entry in enumerate(entries):
        on_progress(f"evaluating {predictions.folder.name}", entry["case_id"], number / len(entries))
        if entry["case_id"] in refused:
            issue = with_case(refused[entry["case_id"]], entry["case_id"])
            scores.append(CaseScore(entry["case_id"], entry.get("patient") or entry["case_id"], issue=issue))
            continue
        try:
            scores.append(score_case(entry, read_pair(entry, predictions, rules), least_iou))
        except Exception as error:  # one case, whatever is wrong with it, never stops the others
            issue = _issue_of(error, entry["case_id"])
            scores.append(CaseScore(entry["case_id"], entry.get("patient") or entry["case_id"], issue=issue))
    return scores


def _issue_of(error: Exception, case_id: str) -> QualityIssue:
    if not isinstance(error, LungSegError):
        logger.debug("%s failed", case_id, exc_info=True)
    return QualityIssue.of(error, case_id)


def _worst(
    scores: Sequence[CaseScore], entries: Sequence[Mapping[str, Any]], predictions: Predictions, rules: Rules
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
