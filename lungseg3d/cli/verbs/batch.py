"""`lungseg3d batch`: thousands of CTs; run the same line again to go on where it stopped.

In: the command line. Out: a folder for each case, a journal, a summary; an exit code. Knows no network.
"""

from __future__ import annotations

import signal
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lungseg3d.cli.terminal.batch_progress import batch_progress
from lungseg3d.cli.terminal.console import complain, progress, say
from lungseg3d.cli.terminal.outcome import ExitStatus, outcome_of, reporting_errors
from lungseg3d.cli.terminal.segment_options import with_segment_options

if TYPE_CHECKING:
    from lungseg3d.workflows.batch_state.records import BatchDone
    from lungseg3d.workflows.segment.options import SegmentOptions

_MOST_SHOWN, _MOST_NAMED = 20, 5


class Engine(str, Enum):
    """Who does the work."""

    local = "local"
    ray = "ray"


@reporting_errors
@with_segment_options
def batch(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="Folder tree of anything, manifest (.json), .csv with a column image."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder; run again to go on.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", exists=True, file_okay=False, help="Where paths of a list start from."),
    ] = None,
    every_series: Annotated[
        bool, typer.Option("--every-series", help="Each CT series is a case, not each study's best one.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Cases at once; 0: as many as fit.")] = 0,
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads of each worker.")] = 1,
    time_limit: Annotated[
        float, typer.Option("--time-limit", min=0.001, metavar="SECONDS", help="A case that takes longer has failed.")
    ] = 3600.0,
    memory_limit: Annotated[
        float | None, typer.Option("--memory-limit", min=0.1, metavar="GIB", help="Address space of a worker (CPU).")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="ray: on a cluster (pip install 'lungseg3d\\[ray]').")] = Engine.local,
    address: Annotated[
        str | None, typer.Option("--address", metavar="HOST:PORT", help="Of the Ray cluster; auto finds one here.")
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option("--gpus-per-worker", min=0.0, help="GPUs that a worker of the Ray cluster takes.")
    ] = 0.0,
    track: Annotated[bool, typer.Option("--track", help="Log to MLFLOW_TRACKING_URI, else to OUT/mlruns.db.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Print case ids and their inputs, and do nothing.")] = False,
    verify: Annotated[
        Path | None,
        typer.Option("--verify", metavar="DIR", exists=True, file_okay=False, help="Check every output of a batch."),
    ] = None,
    *,
    asked: SegmentOptions,
) -> int:
    """Segment every CT of SOURCE, each in DIR/<case_id>/; one that fails stops no other.

    DIR/journal.db has a record of each case. The same line again goes on with what is missing or failed; with another
    model or option it is refused. Ctrl-C ends within ten seconds, and nothing is lost.
    """
    if verify is not None:
        return _verify(verify)
    if source is None or out is None:
        raise typer.BadParameter("SOURCE and --out DIR are needed, or --verify DIR")
    from lungseg3d.workflows.batch.plan import Selection
    from lungseg3d.workflows.batch_state.records import BatchOptions

    selection = Selection(source, data, every_series, asked.read.follow_links)
    if show:
        return _list(selection, out)
    options = BatchOptions(
        asked, workers, threads, time_limit, memory_limit, engine.value, address, gpus_per_worker, track
    )
    from lungseg3d.workflows.batch.run import batch as run_batch

    with batch_progress() as on_progress:
        done = run_batch(selection, out, options, on_progress)
    return _said(done)


def _said(done: BatchDone) -> int:
    statuses = [record.status for record in done.records.values()]
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    ignored = f"; {done.ignored} files are no CT" if done.ignored else ""
    say(f"{len(statuses)} cases: {counts}{f' ({done.skipped} before)' if done.skipped else ''}{ignored}")
    if lacking := _without_objects(done):
        more = ", ..." if len(lacking) > _MOST_NAMED else ""
        named = ", ".join(lacking[:_MOST_NAMED])
        complain(
            f"W_NO_DICOM_OBJECTS: no SEG and SR of {len(lacking)} cases, whose result.json says why: {named}{more}"
        )
    say(f"Wrote {done.page}")
    _say_links(done)
    if done.stopped_by is not None:
        complain(f"Stopped by {signal.Signals(done.stopped_by).name}. The same command goes on.")
        return ExitStatus.TERMINATED if done.stopped_by == signal.SIGTERM else ExitStatus.STOPPED
    return outcome_of(statuses)


def _without_objects(done: BatchDone) -> list[str]:
    """Cases whose DICOM objects were asked for and could not be made."""
    records = done.records.items()
    return [case for case, record in records if any(issue.code == "W_NO_DICOM_OBJECTS" for issue in record.issues)]


def _say_links(done: BatchDone) -> None:
    """What became of the links in the source, where any were not followed."""
    codes = Counter(issue.code for record in done.records.values() for issue in record.issues)
    if refused := codes["E_LINK_NOT_FOLLOWED"]:
        complain(f"{refused} cases are links that lead outside of SOURCE and were not followed: see --follow-links.")
    if missed := codes["W_LINK_NOT_FOLLOWED"]:
        complain(f"{missed} cases were read without slices that are links leading outside: see --follow-links.")
    if broken := codes["E_LINK_BROKEN"]:
        complain(f"{broken} cases are links to content that is not here (git annex get, git lfs pull, or mend them).")


def _list(selection: object, out: Path) -> int:
    from lungseg3d.workflows.batch.listing import list_inputs

    for case_id, source in list_inputs(selection, out):  # type: ignore[arg-type]
        say(f"{case_id}\t{source}")
    return ExitStatus.DONE


def _verify(folder: Path) -> int:
    from lungseg3d.workflows.batch.verify import verify_batch

    with progress() as on_progress:
        found = verify_batch(folder, on_progress)
    for case_id, problems in list(found.problems.items())[:_MOST_SHOWN]:
        for problem in problems:
            complain(f"{case_id}: {problem}")
    if len(found.problems) > _MOST_SHOWN:
        complain(f"... and {len(found.problems) - _MOST_SHOWN} more cases")
    if found.strangers:
        complain(f"Not of this batch: {', '.join(found.strangers[:_MOST_SHOWN])}")
    left = f", {len(found.pending)} not done yet" if found.pending else ""
    say(f"{len(found.whole)} cases are as they were written, {len(found.problems)} are not{left}")
    if found.problems:
        say("Run the batch again: it makes these anew, and sets aside what is there.")
    return outcome_of(["done"] * len(found.whole) + ["failed"] * (len(found.problems) + len(found.pending)))
