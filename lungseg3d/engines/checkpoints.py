"""Checkpoints that a training survives: complete, whole or absent, and refused where they belong to another training.

In: a trainer with all that changes while it trains. Out: `last.pt`, `best.pt`, `model.pt` in a folder; a trainer that
goes on where it was stopped. Ignite's own `Checkpoint` deletes a file before it writes the next of the same name,
keeps no state of random numbers, and leaves the disk to write when it likes.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from lungseg3d.core import BundleError
from lungseg3d.engines.identity import bare, differences, training_identity
from lungseg3d.engines.randomness import random_state, set_random_state
from lungseg3d.io import make_folder, read_weights, remove_unfinished, writing

_FORMAT = 1


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
        validator: evaluator whose key metric chooses `best.pt`; None for no `best.pt`.
        settings: values of the configuration that must be the same for a checkpoint to be resumed.
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

    def prepare(self, engine: Any) -> None:
        """Make the folder, and remove what a killed training left half-written in it."""
        if idist.get_rank() == 0:
            remove_unfinished(make_folder(self.directory))

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
            "identity": training_identity(engine, self.settings),
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
        if said := differences(content["identity"], training_identity(engine, self.settings)):
            raise BundleError(
                "E_OTHER_TRAINING",
                f"{path} belongs to another training: {said}",
                "Give another output_dir; or resume=False, which starts anew here and overwrites what is there.",
            )
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
        done, wanted = engine.state.epoch, engine.state.max_epochs
        if done >= wanted:
            self.logger.warning(f"{path}: all {wanted} epochs are done. To train anew: another output_dir.")
        else:
            self.logger.info(f"Resumed from {path}: {done} of {wanted} epochs are done.")

    def save_model(self, engine: Any) -> None:
        """Write `model.pt`: the weights after the last epoch."""
        if idist.get_rank() == 0:
            write_whole(bare(self.weights).state_dict(), self.directory / "model.pt")

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        remedy = "Remove it, or give resume=False, to start anew."
        try:
            data, _ = read_weights(path)  # refuses all but tensors and plain values, before PyTorch sees it
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except BundleError as error:
            code = error.code if error.code == "E_UNSAFE_CHECKPOINT" else "E_CHECKPOINT"
            raise BundleError(code, error.message, remedy) from error
        except Exception as error:
            raise BundleError("E_CHECKPOINT", f"{path} cannot be read: {error}", remedy) from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise BundleError("E_CHECKPOINT", f"{path} is no checkpoint of this version", remedy)
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
