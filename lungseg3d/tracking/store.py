"""One journaled operation -> MLflow, through `mlflow.MlflowClient`, so that sending it twice is sending it once.

In: operations of `tracking_journal`. Out: runs, parameters, metrics, pictures and files in an MLflow store.
Knows no thread and no journal. MLflow is loaded when a store is opened, with telemetry off.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from lungseg3d.io import sha256_of, take_lock

RUN_KEY_TAG = "lungseg3d.run_key"
"""Tag that holds the key of the journal, by which a run is found again whose id was lost."""
PARENT_TAG = "lungseg3d.parent"
_PARENT_RUN_TAG = "mlflow.parentRunId"
_MOST_PARAMETERS = 100
_HTTP_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}


class Refused(Exception):
    """The store answers, and will never take this operation."""


class Store:
    """An MLflow store.

    Args:
        tracking_uri: a URI that MLflow takes, such as `sqlite:////runs/a/mlruns.db` or `http://host:5000`.
        folder: where relative paths of files begin; files of a SQLite store go to its `mlruns` folder.
    """

    def __init__(self, tracking_uri: str, folder: Path) -> None:
        turn_telemetry_off()
        for name, value in _HTTP_LIMITS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        # Alembic and MLflow's store announce each of 50 migrations of a new file.
        for name in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.folder = folder
        with _alone_in(tracking_uri):
            self.client = MlflowClient(tracking_uri=tracking_uri)
            if tracking_uri.startswith("sqlite:"):
                self.client.search_experiments(max_results=1)  # has MLflow make the tables now
        self._files_at = (folder / "mlruns").absolute().as_uri() if tracking_uri.startswith("sqlite:") else None

    def apply(self, operation: Mapping[str, Any], run_id: str | None) -> str | None:
        """Do one operation.

        Args:
            operation: a line of the journal.
            run_id: of its run in this store; None for `start`.

        Returns:
            The id of the run that a `start` began; None for the others.

        Raises:
            Refused: it will never be taken: a file that has changed since, a value that MLflow does not allow.
            Exception: whatever the client raises when the store cannot be reached or does not work.
        """
        from mlflow.exceptions import MlflowException

        if operation["op"] == "start":
            return self._start(operation)
        if run_id is None:
            raise Refused("its run was refused")
        try:
            getattr(self, "_" + operation["op"])(operation, run_id)
        except MlflowException as error:
            if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
                raise Refused(what_failed(error)) from error
            raise
        return None

    def parent_run(self, experiment: str, name: str) -> str:
        """Id of the run that holds all children of one comparison; experiment and run are made when they are missing.

        Raises:
            Exception: as `apply`.
        """
        return self._parent(self._experiment(experiment), name)

    def _start(self, operation: Mapping[str, Any]) -> str:
        experiment = self._experiment(operation["experiment"])
        if operation.get("shared"):
            return self._parent(experiment, operation["name"], operation["time_ms"])
        if known := self._run_with(experiment, RUN_KEY_TAG, operation["run"]):
            return known
        tags = dict(operation["tags"]) | {RUN_KEY_TAG: operation["run"]}
        if operation.get("parent"):
            tags[_PARENT_RUN_TAG] = self._parent(experiment, operation["parent"])
        run = self.client.create_run(experiment, operation["time_ms"], tags, operation["name"])
        created: str = run.info.run_id
        return created

    def _params(self, operation: Mapping[str, Any], run_id: str) -> None:
        from mlflow.entities import Param

        found = [Param(key, str(value)) for key, value in operation["values"].items()]
        for first in range(0, len(found), _MOST_PARAMETERS):
            self.client.log_batch(run_id, params=found[first : first + _MOST_PARAMETERS])

    def _metrics(self, operation: Mapping[str, Any], run_id: str) -> None:
        from mlflow.entities import Metric

        time_ms, step = operation["time_ms"], operation["step"]
        found = [Metric(key, float(value), time_ms, step) for key, value in operation["values"].items()]
        self.client.log_batch(run_id, metrics=found)

    def _picture(self, operation: Mapping[str, Any], run_id: str) -> None:
        from PIL import Image

        with Image.open(self._unchanged(operation)) as image:
            image.load()
            self.client.log_image(
                run_id,
                image,
                key=operation["name"],
                step=operation["step"],
                timestamp=operation["time_ms"],
                synchronous=True,
            )

    def _artifact(self, operation: Mapping[str, Any], run_id: str) -> None:
        self.client.log_artifact(run_id, str(self._unchanged(operation)), operation["under"] or None)

    def _end(self, operation: Mapping[str, Any], run_id: str) -> None:
        for key, value in operation.get("tags", {}).items():
            self.client.set_tag(run_id, key, value)
        if operation["status"]:  # a shared run has been closed since it was made
            self.client.set_terminated(run_id, operation["status"], operation["time_ms"])

    def _unchanged(self, operation: Mapping[str, Any]) -> Path:
        path: Path = self.folder / operation["path"]
        if not path.is_file():
            raise Refused("the file is gone")
        if sha256_of(path) != operation["sha256"]:
            raise Refused("the file has changed since")
        return path

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return self.client.create_experiment(name, artifact_location=self._files_at)
            except MlflowException:
                # Another process may have been quicker.
                experiment = self.client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage != "active":
            raise MlflowException(f"the experiment {name} is deleted; restore it, or give another name")
        return experiment.experiment_id

    def _run_with(self, experiment: str, tag: str, value: str) -> str | None:
        """The oldest run of the experiment whose tag `tag` is `value`."""
        quoted = value.replace("'", "")
        runs = self.client.search_runs([experiment], f"tags.`{tag}` = '{quoted}'", order_by=["attributes.start_time"])
        return runs[0].info.run_id if runs else None

    def _parent(self, experiment: str, name: str, start_ms: int | None = None) -> str:
        """The run that holds all children of one comparison; made by the first of them, and closed at once."""
        name = name.replace("'", "")
        if known := self._run_with(experiment, PARENT_TAG, name):
            return known
        run = self.client.create_run(experiment, start_ms, {PARENT_TAG: name}, name)
        self.client.set_terminated(run.info.run_id)
        # Two children may have made one each at the same time: the older one counts, and the other goes.
        oldest = self._run_with(experiment, PARENT_TAG, name) or run.info.run_id
        if oldest != run.info.run_id:
            self.client.delete_run(run.info.run_id)
        return oldest


@contextlib.contextmanager
def _alone_in(tracking_uri: str) -> Iterator[None]:
    """Hold the folder of a SQLite store: two processes that make its tables at once would lose one another's run.

    A system or file system without locks, and a folder that is not there, are left to MLflow.
    """
    path = sqlite_path(tracking_uri)
    if path is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            stack.callback(os.close, folder)
            take_lock(folder, wait=True)
        yield


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of a SQLite store, such as `sqlite:///relative.db` or `sqlite:////absolute.db`; None for others."""
    scheme, _, rest = tracking_uri.partition(":///")
    if not scheme.startswith("sqlite") or not rest or rest.startswith(":memory:"):
        return None
    return Path(unquote(rest.partition("?")[0])).absolute()


def turn_telemetry_off() -> None:
    """Have MLflow report nothing to its makers, also when it was loaded before."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow.telemetry

    mlflow.telemetry.set_telemetry_client()


def own_store(folder: Path) -> str:
    """The URI of the SQLite file that a run folder holds."""
    # Percent-encoded, as `?` and `#` in a folder's name would end the path.
    return f"sqlite:///{quote((folder.absolute() / 'mlruns.db').as_posix(), safe='/:')}"


def tracking_uri_of(out: Path) -> str:
    """MLFLOW_TRACKING_URI, else one SQLite file for all members, in the comparison's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or own_store(out)


def journal_uri(tracking_uri: str, folder: Path) -> str | None:
    """A URI as a journal in `folder` holds it: without a password, and None for the SQLite file beside the journal."""
    return None if tracking_uri == own_store(folder) else without_password(tracking_uri)


def without_password(tracking_uri: str) -> str:
    """A URI without user name and password."""
    parts = urlsplit(tracking_uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else tracking_uri


def what_failed(error: BaseException) -> str:
    """An error in one line, without the user name and password that MLflow's messages repeat."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"//[^/\s@]*@", "//", text)
    return text if len(text) < 240 else f"{text[:160]} ... {text[-70:]}"


def store_key(tracking_uri: str) -> str:
    """Twelve hexadecimal digits that stand for a store in a journal."""
    return hashlib.sha256(without_password(tracking_uri).rstrip("/").encode()).hexdigest()[:12]
