"""An evaluation in MLflow: one run with its means and its files.

In: the content of `summary.json` and the written files. Out: a run in the store of `MLFLOW_TRACKING_URI`, else in
`<out>/mlruns.db`, by way of the journal `<out>/tracking.jsonl`, which `lungseg3d replay` sends when the store was away.
A failure here is a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lungseg3d.tracking.run import TrackedRun, unique_run_name
from lungseg3d.tracking.store import tracking_uri_of

logger = logging.getLogger(__name__)

_PARAMETERS = ("manifest", "split", "predictions", "against", "least_iou")


def track_evaluation(content: Mapping[str, Any], out: Path, files: Sequence[Path]) -> None:
    """Log the mean of every metric, the numbers of cases and the files, in an experiment of the manifest's name."""
    try:
        run = TrackedRun(out.absolute(), tracking_uri_of(out), unique_run_name(content["predictions"]))
        run.start_shared(f"evaluate-{content['manifest']}")
        run.log("metrics", step=0, values=means_of(content))
        run.log("params", values={key: str(content[key]) for key in _PARAMETERS})
        for path in files:
            run.log_file("artifact", path, under="")
        run.end(None)
        run.close()
    except Exception as error:
        logger.warning(f"W_TRACKING_FAULT: {type(error).__name__}: {error}")


def means_of(content: Mapping[str, Any]) -> dict[str, float]:
    """Every mean that is defined, by a name such as `dice/nodule` or `nodules/detection`."""
    found = {
        f"{metric}/{name}": interval["mean"]
        for name, metrics in content["structures"].items()
        for metric, interval in metrics.items()
    }
    if content["nodules"]:
        strata = content["nodules"]["all"]
        found |= {f"nodules/{key}": strata[key]["mean"] for key in ("detection", "precision", "dice", "iou", "hd95_mm")}
    if content["list"]:
        found |= {f"list/{key}": content["list"][key]["mean"] for key in ("sensitivity", "false_findings_a_scan")}
    if content["froc"]:
        found["froc/cpm"] = content["froc"]["cpm"]
    if content["calibration"]:
        found["calibration/ece"] = content["calibration"]["ece"]
    known = {key: value for key, value in found.items() if value is not None}
    return {"cases": content["cases"], "evaluated": content["evaluated"], **known}
