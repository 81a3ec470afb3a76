"""Checkpoints that a training survives: complete, whole or absent, and refused where they belong to another training.

In: a trainer with all that changes while it trains. Out: `last.pt`, `best.pt`, `model.pt` in a folder; a trainer that
goes on where it was stopped. Ignite's own `Checkpoint` deletes a file before it writes the next of the same name,
keeps no state of random numbers, and leaves the disk to write when it likes.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from lungseg3d.core import BundleError
from lungseg3d.engines.tracking_facts import raw_configuration_in_use
from lungseg3d.engines.training.identity import bare, configuration_identity, differences, training_identity
from lungseg3d.engines.training.randomness import random_state, set_random_state
from lungseg3d.engines.training.validation import check_validation
from lungseg3d.io import make_folder, read_weights, remove_unfinished, writing

_FORMAT = 1
_ANEW = "Remove it, or give resume=False, to start anew."


def write_whole(content: Any, path: Path) -> None:
    """`torch.save` to `path` so that a kill at any moment leaves the file of before or the new one, never a part.

    What was being written when the process died stays as `.writing-...`, and the next training here removes it.

    Raises:
        OutputError: E_NO_SPACE, E_WRITE.
    """
    with writing(path) as file:
        torch.save(content, file)


class RunCheckpoints:
    """Handler of a trainer: saves after each epoch, and goes on from there when the same training is started again.

    `last.pt` holds all that the next epoch depends on: network, optimiser, gradient scaler, `objects`, the sampler and
    the random numbers of every process, epoch, iteration, best metric. On a CPU the losses that follow are those of a
    run that was never stopped, bit by bit. `best.pt` (the epoch of the best validation metric) and `model.pt` (after
    the last epoch) are plain state dicts of `weights`. Attach it after every handler that changes a state at the end
    of an epoch (schedule, validation), and after a loader of pretrained weights.

    Args:
        directory: folder of the files, made when it is missing.
        weights: the network that is used afterwards: the trained one, or its moving average.
        objects: what else goes on, by name; each has `state_dict` and `load_state_dict`, or is None. Those that are
            handlers of the trainer themselves (`attach`: moving average, early stop) are attached here, in front.
        validator: evaluator whose key metric chooses `best.pt`; None for no `best.pt`. Where the metric is not defined,
            as no held-out case has a labelled voxel, that is said before the first epoch and nothing is chosen.
        settings: values of the configuration that must be the same for a checkpoint to be resumed. In a MONAI bundle
            the whole configuration is compared, see `configuration_identity`; and always the voxels and labels of the
            cases.
        resume: False starts anew and overwrites what is there.
    """

    def __init__(
        self,
        directory: Path | str,
        weights: nn.Module,
        objects: Mapping[str, Any] | None = None,
        validator: Evaluator | None = None,
        settings: Mapping[str, Any] | None = None,
        resume: bool = True,
    ) -> None:
        self.directory = Path(directory)
        if not isinstance(resume, bool):  # the word "false" would be true
            text = f"resume is {resume!r}; expected True or False"
            raise BundleError("E_CONFIGURATION", text, "Write resume=False.")
        self.weights, self.validator, self.resume = weights, validator, resume
        self.objects = {name: thing for name, thing in (objects or {}).items() if thing is not None}
        self.settings = dict(settings or {})
        self.configuration = configuration_identity(raw_configuration_in_use())
        self._is_validated = True
        self._has_warned = False
        self.logger = logging.getLogger(__name__)

    def attach(self, engine: Engine) -> None:
        """Register with a `RoiTrainer`."""
        self.logger = engine.logger
        for thing in self.objects.values():
            if hasattr(thing, "attach"):
                thing.attach(engine)
        engine.add_event_handler(Events.STARTED, self.prepare)
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.save_model)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self.drop_undefined)

    def prepare(self, engine: Any) -> None:
        """Make the folder, remove what a killed training left half-written in it, and look at the labels of the cases.

        Raises:
            BundleError: E_NO_FOREGROUND, E_EMPTY_FOLD: nothing could be learned, or what follows a metric has none.
        """
        if idist.get_rank() == 0:
            remove_unfinished(make_folder(self.directory))
        check = getattr(engine.data_loader, "check_foreground", None)
        if callable(check):
            check()
        if self.validator is not None:
            self._is_validated = check_validation(
                self.validator, self.objects, self.logger if idist.get_rank() == 0 else None
            )

    def drop_undefined(self, validator: Any) -> None:
        """Forget a best metric that is not a number: MONAI takes the first one for the best, whatever it is."""
        state: Any = validator.state
        if state.best_metric_epoch == -1 or (self._is_validated and math.isfinite(float(state.best_metric))):
            return
        if self._is_validated and not self._has_warned and idist.get_rank() == 0:
            said = f"{state.key_metric_name} is {float(state.best_metric)}"
            self.logger.warning(f"W_UNDEFINED_METRIC: {said}; no best.pt is chosen by it.")
            self._has_warned = True
        state.best_metric, state.best_metric_epoch = -1, -1

    def save(self, engine: Any) -> None:
        """Write `best.pt` where this epoch is the best one yet, then `last.pt`. Every process takes part."""
        ranks = _gathered({"random": random_state(), "sampler": _state(engine.data_loader)})
        if idist.get_rank() > 0:
            return
        best = {key: getattr(self.validator.state, key) for key in _BEST} if self.validator else {}
        if best.get("best_metric_epoch") == engine.state.epoch:
            write_whole(bare(self.weights).state_dict(), self.directory / "best.pt")
        content = {
            "format": _FORMAT,
            "identity": self._identity(engine),
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "best": {key: float(value) for key, value in best.items()},
            "model": bare(engine.network).state_dict(),
            "optimizer": engine.optimizer.state_dict(),
            "scaler": engine.scaler_.state_dict(),
            "objects": {name: thing.state_dict() for name, thing in self.objects.items()},
            "ranks": ranks,
        }
        write_whole(content, self.directory / "last.pt")

    def load(self, engine: Any) -> None:
        """Take everything from `last.pt`, where there is one and `resume` holds.

        Raises:
            BundleError: E_CHECKPOINT for a file that cannot be read; E_UNSAFE_CHECKPOINT for one that holds more than
                tensors and plain values; E_OTHER_TRAINING for one of another network,
                data list, or settings, naming what differs.
        """
        path = self.directory / "last.pt"
        if not self.resume or not path.is_file():
            return
        content = self._read(path)
        if said := differences(content["identity"], self._identity(engine)):
            raise BundleError(
                "E_OTHER_TRAINING",
                f"{path} belongs to another training: {said}",
                "Give another output_dir; or resume=False, which starts anew here and overwrites what is there.",
            )
        if self.configuration and not content["identity"].get("configuration"):
            self.logger.warning(f"{path} is of an older version; that its settings are all the same is not checked.")
        try:
            self._take(engine, content)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise BundleError("E_CHECKPOINT", f"{path} is not complete: {said}", _ANEW) from error
        done, wanted = engine.state.epoch, engine.state.max_epochs
        if done >= wanted:
            self.logger.warning(f"{path}: all {wanted} epochs are done. To train anew: another output_dir.")
        else:
            self.logger.info(f"Resumed from {path}: {done} of {wanted} epochs are done.")

    def _identity(self, engine: Any) -> dict[str, Any]:
        return training_identity(engine, self.settings, self.configuration)

    def _take(self, engine: Any, content: Mapping[str, Any]) -> None:
        """Bring the trainer and all that belongs to it where the checkpoint was."""
        bare(engine.network).load_state_dict(content["model"])
        engine.optimizer.load_state_dict(content["optimizer"])
        engine.scaler_.load_state_dict(content["scaler"])
        for name, thing in self.objects.items():
            thing.load_state_dict(content["objects"][name])
        if self.validator and content["best"]:
            state: Any = self.validator.state
            state.best_metric = content["best"]["best_metric"]
            state.best_metric_epoch = int(content["best"]["best_metric_epoch"])
        engine.state.epoch, engine.state.iteration = content["epoch"], content["iteration"]
        mine = content["ranks"][idist.get_rank()]
        if mine["sampler"] is not None:
            engine.data_loader.load_state_dict(mine["sampler"])
        # Last: nothing after this may draw a random number before the first batch.
        set_random_state(mine["random"])

    def save_model(self, engine: Any) -> None:
        """Write `model.pt`: the weights after the last epoch."""
        if idist.get_rank() == 0:
            write_whole(bare(self.weights).state_dict(), self.directory / "model.pt")

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            data, _ = read_weights(path)  # refuses all but tensors and plain values, before PyTorch sees it
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except BundleError as error:
            code = error.code if error.code == "E_UNSAFE_CHECKPOINT" else "E_CHECKPOINT"
            raise BundleError(code, error.message, _ANEW) from error
        except Exception as error:
            raise BundleError("E_CHECKPOINT", f"{path} cannot be read: {error}", _ANEW) from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise BundleError("E_CHECKPOINT", f"{path} is no checkpoint of this version", _ANEW)
        if not isinstance(content.get("identity"), dict):
            raise BundleError("E_CHECKPOINT", f"{path} does not say which training it belongs to", _ANEW)
        return content


_BEST = ("best_metric", "best_metric_epoch")


def _state(thing: Any) -> Any:
    return thing.state_dict() if hasattr(thing, "state_dict") else None


def _gathered(state: Any) -> list[Any]:
    """One entry for each process, in the order of ranks."""
    if idist.get_world_size() == 1:
        return [state]
    gathered: Any = idist.all_gather(state)
    return list(gathered)
