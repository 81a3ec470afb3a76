"""Experiment tracking that never stops a training: an Ignite handler for MLflow with a journal and a thread between.

In: a trainer and its evaluator, what the run is known by. Out: a run in an MLflow store, now or when it is replayed.
Whatever fails here becomes one warning.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from lungseg3d.core import LungSegError
from lungseg3d.engines.process_end import ProcessEnd
from lungseg3d.engines.tracking_facts import (
    case_ids,
    configuration_in_use,
    description,
    flat_parameters,
    git_revision,
    manifest_facts,
    network_facts,
    versions,
    without_paths,
)
from lungseg3d.engines.tracking_journal import Journal
from lungseg3d.engines.tracking_measures import EpochMeter, scalars
from lungseg3d.engines.tracking_pictures import ValidationPictures
from lungseg3d.engines.tracking_sender import Sender
from lungseg3d.engines.tracking_store import own_store, without_password
from lungseg3d.io import make_folder, sha256_of, write_bytes, write_text

logger = logging.getLogger(__name__)

LONGEST_FLUSH_S = 8.0
"""How long the end of a training waits for a server."""
LONGEST_LOCAL_FLUSH_S = 60.0
"""How long it waits for a SQLite file, which cannot be away but may take a while to be made."""


def unique_run_name(prefix: str) -> str:
    """`prefix` and eight random hexadecimal digits: with MLflow's default name a killed run swallows the next one."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def _never_in_the_way(callback: Callable) -> Callable:
    """A handler whose exceptions become one warning: a fault of tracking is no reason to stop a training."""

    @functools.wraps(callback)
    def guarded(self: RunTracking, engine: Engine) -> None:
        try:
            callback(self, engine)
        except Exception as error:
            self._warn("W_TRACKING_FAULT", f"{callback.__name__}: {type(error).__name__}: {error}")

    return guarded


class RunTracking:
    """Handler of a trainer: one MLflow run, from its start to FINISHED, FAILED or KILLED.

    List it before the handlers that raise an exception (StatsHandler), as Ignite asks no further ones. Everything is
    written to `<output_dir>/tracking.jsonl` and sent by a thread. A store that is away is W_TRACKING_OFFLINE, once; it
    costs at most `LONGEST_FLUSH_S` at the end, and `lungseg3d replay OUTPUT_DIR` sends the rest. A run that was killed
    without a chance to say so is closed as KILLED by the next one in the same folder.

    Tracked are case ids; no path, as folders are named after patients and users.

    Args:
        output_dir: folder of the journal, of `mlruns.db`, and of what is sent.
        experiment: name of the experiment.
        run_name: see `unique_run_name`.
        tracking_uri: default store; MLFLOW_TRACKING_URI goes before it, `<output_dir>/mlruns.db` stands in for both.
        evaluator: its metrics are tracked at the trainer's epoch, and pictures of its first cases.
        manifests: name of each part of the data -> manifest, for checksums.
        cases: name of each side of the split -> data sets, for case ids.
        artifacts: folder in the run -> files that are sent at the end; those not written in this run are left out.
        model_card: a text file, sent at the start.
        pictures: how many validation cases are drawn; the same ones every time.
        hu_range: HU that are 0 and 1 in the evaluator's images.
        tags: shown beside the run; those that are None are left out.
        parent: name of the run that holds this one, for folds and seeds of one comparison; made when it is missing.
        parameters: more parameters, or all of them outside a bundle; a bundle's configuration is found by itself.
    """

    def __init__(
        self,
        output_dir: Path | str,
        experiment: str,
        run_name: str,
        tracking_uri: str | None = None,
        evaluator: Engine | None = None,
        manifests: Mapping[str, Path | str] | None = None,
        cases: Mapping[str, Sequence[Any]] | None = None,
        artifacts: Mapping[str, Sequence[Path | str]] | None = None,
        model_card: Path | str | None = None,
        pictures: int = 4,
        hu_range: Sequence[float] = (-1000.0, 400.0),
        tags: Mapping[str, Any] | None = None,
        parent: str | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = Path(output_dir).absolute()
        self.experiment, self.run_name, self.parent = experiment, run_name, parent
        self.tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri or own_store(self.folder)
        self.evaluator, self.artifacts = evaluator, dict(artifacts or {})
        self.manifests, self.cases = dict(manifests or {}), dict(cases or {})
        self.tags = {key: str(value) for key, value in (tags or {}).items() if value is not None}
        self.config = without_paths(configuration_in_use() | dict(parameters or {}))
        self.pictures = ValidationPictures(pictures, hu_range)
        self._warned: set[str] = set()
        self.model_card = Path(model_card) if model_card else None
        self._key: str | None = None
        self._journal: Journal | None = None
        self._began = 0.0

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
        self._began = time.time()
        self._journal = Journal.open_in(self.folder)
        self._journal.close_killed_runs()
        self._key = uuid.uuid4().hex
        is_own = self.tracking_uri == own_store(self.folder)
        uri = None if is_own else without_password(self.tracking_uri)
        journal = self._journal
        self._sender = Sender(journal, self.tracking_uri, self.folder, lambda run: journal.uri(run) == uri)
        self._end = ProcessEnd(self.close)
        # Last of all, when the other handlers have written what is sent at the end.
        engine.add_event_handler(Events.COMPLETED, self.finish)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._raise)
        self._meter = EpochMeter(getattr(engine, "loss_function", None))
        sides = {side: case_ids(datasets) for side, datasets in self.cases.items()}
        revision = git_revision()
        network = network_facts(getattr(engine, "network", None))
        tags = self.tags | {"mlflow.source.name": self.experiment, "mlflow.source.type": "JOB"}
        tags |= {"mlflow.source.git.commit": revision} if revision else {}
        tags["mlflow.note.content"] = description(network, sides)
        self._log(
            "start",
            experiment=self.experiment,
            name=self.run_name,
            tags=without_paths(tags),
            parent=self.parent,
            uri=uri,
        )
        self._sender.start()
        facts = network | versions() | manifest_facts(self.manifests)
        facts |= {f"data/{side}/cases": str(len(ids)) for side, ids in sides.items()}
        self._log("params", values=flat_parameters(self.config) | facts)
        self._log_content("config.json", _as_json(self.config))
        if sides:
            self._log_content("split.json", _as_json(sides))
        if self.model_card is not None and self.model_card.is_file():
            self._log_content("model_card.md", self.model_card.read_text(encoding="utf-8"))

    @_never_in_the_way
    def start_epoch(self, engine: Engine) -> None:
        """Begin to measure."""
        if self._key:
            self._meter.start_epoch()

    @_never_in_the_way
    def add_iteration(self, engine: Engine) -> None:
        """Measure one iteration."""
        if self._key:
            self._meter.add_iteration(engine.state.output)

    @_never_in_the_way
    def log_epoch(self, engine: Any) -> None:
        """Send what the epoch amounts to."""
        if self._key:
            values = self._meter.values(getattr(engine, "optimizer", None))
            self._log("metrics", step=engine.state.epoch, values=values)

    @_never_in_the_way
    def start_validation(self, engine: Engine) -> None:
        """Take the time."""
        self._validation_began = time.perf_counter()

    @_never_in_the_way
    def add_picture(self, engine: Engine) -> None:
        """Draw the cases of this batch that are among those to draw."""
        if self._key is None:
            return
        step = self.trainer.state.epoch
        for case_id, png in self.pictures.drawn(engine.state.batch, engine.state.output):
            path = self._own_folder() / "pictures" / f"{case_id}-{step:05d}.png"
            make_folder(path.parent)
            write_bytes(path, png)
            self._log_file("picture", path, name=f"val/{case_id}", step=step)

    @_never_in_the_way
    def log_validation(self, engine: Engine) -> None:
        """Send every metric of the evaluator."""
        if self._key:
            values = scalars(engine.state.metrics)
            values["speed/validation_s"] = time.perf_counter() - self._validation_began
            self._log("metrics", step=self.trainer.state.epoch, values=values)

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
            self.close(self._end.outcome if self._key else "FAILED", error=said)
        except Exception as fault:
            self._warn("W_TRACKING_FAULT", f"{type(fault).__name__}: {fault}")
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
        if self._key is None or self._journal is None:
            return
        try:
            self._log_artifacts()
        except OSError as error:
            self._warn("W_TRACKING_FAULT", f"not all files are tracked: {error}")
        self._log("end", status=status, tags=tags)
        self._key = None
        self._end.cancel()
        self._meter.parts.remove()
        self.trainer.remove_event_handler(self.finish, Events.COMPLETED)
        is_local = self.tracking_uri.startswith("sqlite:")
        left = self._sender.close(LONGEST_LOCAL_FLUSH_S if is_local else LONGEST_FLUSH_S)
        if left and self._sender.failure is None:
            self._warn("W_TRACKING_UNSENT", f"{left} operations. Send them: lungseg3d replay {self.folder}")
        self._journal.close()

    def _log(self, op: str, **fields: Any) -> None:
        assert self._journal is not None
        assert self._key is not None
        try:
            self._journal.append(self._key, op, **fields)
        except OSError as error:  # such as a full disk; it is kept in memory, and sent
            self._warn("W_TRACKING_JOURNAL", f"{self._journal.path}: {error}; what is not sent now is lost")
        self._sender.wake()

    def _log_artifacts(self) -> None:
        for under, paths in self.artifacts.items():
            for path in map(Path, paths):
                # A file of an earlier run in this folder is not this run's.
                if path.is_file() and path.stat().st_mtime >= self._began - 1:
                    self._log_file("artifact", path, under=under)

    def _log_file(self, op: str, path: Path, **fields: Any) -> None:
        path = path.absolute()
        where = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path
        self._log(op, path=where.as_posix(), sha256=sha256_of(path), **fields)

    def _log_content(self, name: str, text: str) -> None:
        path = self._own_folder() / name
        make_folder(path.parent)
        write_text(path, text)
        self._log_file("artifact", path, under="")

    def _warn(self, code: str, text: str) -> None:
        """Once for each code."""
        if code not in self._warned:
            logger.warning(f"{code}: {text}")
        self._warned.add(code)

    def _own_folder(self) -> Path:
        """Each run has its own, so that what one could not send is not overwritten by the next."""
        return self.folder / "tracking" / self.run_name


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=2, default=str) + "\n"
