"""Experiment tracking that never stops a training: an Ignite handler for MLflow.

In: a trainer and its evaluator, what the run is known by. Out: what a `TrackedRun` sends. Whatever fails here becomes
one warning.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from lungseg3d.core import LungSegError
from lungseg3d.engines.tracking.measures import EpochMeter, scalars
from lungseg3d.engines.tracking.pictures import ValidationPictures
from lungseg3d.engines.tracking_facts import (
    case_ids,
    configuration_in_use,
    description,
    flat_parameters,
    manifest_facts,
    network_facts,
    versions,
    without_paths,
)
from lungseg3d.io import make_folder, write_bytes
from lungseg3d.tracking.process_end import ProcessEnd
from lungseg3d.tracking.run import TrackedRun
from lungseg3d.tracking.store import own_store

logger = logging.getLogger(__name__)


def _never_in_the_way(callback: Callable[..., None]) -> Callable[..., None]:
    """A handler whose exceptions become one warning: a fault of tracking is no reason to stop a training."""

    @functools.wraps(callback)
    def guarded(self: RunTracking, engine: Engine) -> None:
        try:
            callback(self, engine)
        except Exception as error:
            self._warn(f"{callback.__name__}: {type(error).__name__}: {error}")

    return guarded


@dataclass(frozen=True)
class TrackedContent:
    """What of a training is tracked beside its measures.

    Attributes:
        manifests: name of each part of the data -> manifest, for checksums.
        cases: name of each side of the split -> data sets, for case ids.
        artifacts: folder in the run -> files that are sent at the end; those not written in this run are left out.
        model_card: a text file, sent at the start.
        pictures: how many validation cases are drawn; the same ones every time.
        hu_range: HU that are 0 and 1 in the evaluator's images.
        tags: shown beside the run; those that are None are left out.
        parameters: more parameters, or all of them outside a bundle; a bundle's configuration is found by itself.
    """

    manifests: Mapping[str, Path | str] | None = None
    cases: Mapping[str, Sequence[Any]] | None = None
    artifacts: Mapping[str, Sequence[Path | str]] | None = None
    model_card: Path | str | None = None
    pictures: int = 4
    hu_range: Sequence[float] = (-1000.0, 400.0)
    tags: Mapping[str, Any] | None = None
    parameters: Mapping[str, Any] | None = None


class RunTracking:
    """Handler of a trainer: one MLflow run, from its start to FINISHED, FAILED or KILLED.

    List it before the handlers that raise an exception (StatsHandler), as Ignite asks no further ones. Everything is
    written to `<output_dir>/tracking.jsonl` and sent by a thread. A store that is away is W_TRACKING_OFFLINE, once; it
    costs a few seconds at the end, and `lungseg3d replay OUTPUT_DIR` sends the rest. A run that was killed
    without a chance to say so is closed as KILLED by the next one in the same folder.

    Tracked are case ids; no path, as folders are named after patients and users.

    Args:
        output_dir: folder of the journal, of `mlruns.db`, and of what is sent.
        experiment: name of the experiment.
        run_name: see `unique_run_name`.
        tracking_uri: default store; MLFLOW_TRACKING_URI goes before it, `<output_dir>/mlruns.db` stands in for both.
        evaluator: its metrics are tracked at the trainer's epoch, and pictures of its first cases.
        parent: name of the run that holds this one, for folds and seeds of one comparison; made when it is missing.
        **content: fields of `TrackedContent`.
    """

    keyword_groups = (TrackedContent,)

    def __init__(
        self,
        output_dir: Path | str,
        experiment: str,
        run_name: str,
        tracking_uri: str | None = None,
        evaluator: Engine | None = None,
        parent: str | None = None,
        **content: Any,
    ) -> None:
        tracked = TrackedContent(**content)
        self.folder = Path(output_dir).absolute()
        self.experiment, self.run_name, self.parent = experiment, run_name, parent
        self.tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri or own_store(self.folder)
        self.evaluator, self.artifacts = evaluator, dict(tracked.artifacts or {})
        self.manifests, self.cases = dict(tracked.manifests or {}), dict(tracked.cases or {})
        self.tags = {key: str(value) for key, value in (tracked.tags or {}).items() if value is not None}
        self.config = without_paths(configuration_in_use() | dict(tracked.parameters or {}))
        self.pictures = ValidationPictures(tracked.pictures, tracked.hu_range)
        self._has_warned = False
        self.model_card = Path(tracked.model_card) if tracked.model_card else None
        self._run: TrackedRun | None = None
        self._before: dict[Path, tuple[int, int]] = {}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, and with the evaluator that was given."""
        self.trainer = engine
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add_iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_epoch)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)
        if self.evaluator is not None:
            self.evaluator.add_event_handler(Events.STARTED, self.start_validation)
            self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.add_picture)
            self.evaluator.add_event_handler(Events.COMPLETED, self.log_validation)

    @_never_in_the_way
    def start(self, engine: Any) -> None:
        """Open the run, and close the one that a kill left open."""
        self.close("KILLED")
        self._note_artifacts()
        self._end = ProcessEnd(self.close)
        # Last of all, when the other handlers have written what is sent at the end.
        engine.add_event_handler(Events.COMPLETED, self.finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._raise)
        self._meter = EpochMeter(getattr(engine, "loss_function", None))
        sides = {side: case_ids(datasets) for side, datasets in self.cases.items()}
        network = network_facts(getattr(engine, "network", None))
        self._run = run = TrackedRun(self.folder, self.tracking_uri, self.run_name)
        run.start(self.experiment, self.tags | {"mlflow.note.content": description(network, sides)}, self.parent)
        facts = network | versions() | manifest_facts(self.manifests)
        facts |= {f"data/{side}/cases": str(len(ids)) for side, ids in sides.items()}
        run.log("params", values=flat_parameters(self.config) | facts)
        run.log_text("config.json", _as_json(self.config))
        if sides:
            run.log_text("split.json", _as_json(sides))
        if self.model_card is not None and self.model_card.is_file():
            run.log_text("model_card.md", self.model_card.read_text(encoding="utf-8"))

    @_never_in_the_way
    def start_epoch(self, engine: Engine) -> None:
        """Begin to measure."""
        if self._run:
            self._meter.start_epoch()

    @_never_in_the_way
    def add_iteration(self, engine: Engine) -> None:
        """Measure one iteration."""
        if self._run:
            self._meter.add_iteration(engine.state.output)

    @_never_in_the_way
    def log_epoch(self, engine: Any) -> None:
        """Send what the epoch amounts to."""
        if self._run:
            values = self._meter.values(getattr(engine, "optimizer", None))
            self._run.log("metrics", step=engine.state.epoch, values=values)

    @_never_in_the_way
    def start_validation(self, engine: Engine) -> None:
        """Take the time."""
        self._validation_began = time.perf_counter()

    @_never_in_the_way
    def add_picture(self, engine: Engine) -> None:
        """Draw the cases of this batch that are among those to draw."""
        if self._run is None:
            return
        step = self.trainer.state.epoch
        for case_id, png in self.pictures.drawn(engine.state.batch, engine.state.output):
            path = self._run.own_folder / "pictures" / f"{case_id}-{step:05d}.png"
            make_folder(path.parent)
            write_bytes(path, png)
            self._run.log_file("picture", path, name=f"val/{case_id}", step=step)

    @_never_in_the_way
    def log_validation(self, engine: Engine) -> None:
        """Send every metric of the evaluator."""
        if self._run:
            values = scalars(engine.state.metrics)
            values["speed/validation_s"] = time.perf_counter() - self._validation_began
            self._run.log("metrics", step=self.trainer.state.epoch, values=values)

    @_never_in_the_way
    def finish(self, engine: Engine) -> None:
        """Close the run as FINISHED."""
        self.close("FINISHED")

    def fail(self, engine: Engine, error: BaseException) -> None:
        """Close the run as FAILED and let the error go its way: to the other handlers, then to who runs the engine."""
        # The name alone: an error's text may name a patient's folder.
        said = f"{type(error).__name__} {error.code}" if isinstance(error, LungSegError) else type(error).__name__
        try:
            # Ignite brings what a signal raised here too, SystemExit and KeyboardInterrupt.
            self.close(self._end.outcome if self._run else "FAILED", error=said)
        except Exception as fault:
            self._warn(f"{type(fault).__name__}: {fault}")
        if not engine.has_event_handler(self._raise, Events.EXCEPTION_RAISED):
            raise error

    @staticmethod
    def _raise(engine: Engine, error: BaseException) -> None:
        """Ignite drops an exception that none of its handlers raises again."""
        raise error

    def close(self, status: str, **tags: str) -> None:
        """Send artifacts and the end, and wait a little; does nothing when no run is open.

        Args:
            status: FINISHED, FAILED or KILLED.
            **tags: set at the end.
        """
        run = self._run
        if run is None:
            return
        try:
            self._log_artifacts(run)
        except OSError as error:
            self._warn(f"not all files are tracked: {error}")
        run.end(status, tags)
        self._run = None
        self._end.cancel()
        self._meter.parts.remove()
        self.trainer.remove_event_handler(self.finish, Events.COMPLETED)
        run.close()

    def _note_artifacts(self) -> None:
        self._before = {path: _state(path) for paths in self.artifacts.values() for path in map(Path, paths)}

    def _log_artifacts(self, run: TrackedRun) -> None:
        for under, paths in self.artifacts.items():
            for path in map(Path, paths):
                # A file of an earlier run in this folder is not this run's. Times of files are compared with one
                # another only: a file server's clock may differ from ours.
                if path.is_file() and _state(path) != self._before.get(path):
                    run.log_file("artifact", path, under=under)

    def _warn(self, text: str) -> None:
        """Once."""
        if not self._has_warned:
            logger.warning(f"W_TRACKING_FAULT: {text}")
        self._has_warned = True


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file is written: its time in ns and its inode, which another file under its name has not."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=2, default=str) + "\n"
