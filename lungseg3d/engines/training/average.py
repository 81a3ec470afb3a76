"""The moving average of a network's weights, which is often better than the weights of the last step.

In: a network that trains. Out: its average, or the network itself where none is asked for. Source of the idea: Polyak
& Juditsky 1992, SIAM J Control Optim 30:838; the arithmetic is Ignite's, the warm-up TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from torch import nn

from lungseg3d.engines.training.identity import bare


class WeightAverage:
    """Handler of a trainer that keeps an exponential moving average of the weights, updated at each optimiser step.

    Args:
        network: the network that trains.
        decay: share of the average that stays at each step, such as 0.999; 0 keeps no average.
        warm_up: in the first steps less stays, (1 + t) / (10 + t) at step t, so that an average of 0.999 is not the
            random weights of the beginning for a thousand steps.

    Attributes:
        network: what to validate and to save: the average, or the trained network itself without one; never a wrapper.

    Raises:
        ValueError: a decay outside 0 <= decay < 1.
    """

    def __init__(self, network: nn.Module, decay: float = 0.0, warm_up: bool = True) -> None:
        if not 0 <= decay < 1:
            raise ValueError(
                f"the decay of the moving average (ema) is {decay}, expected 0 <= decay < 1, such as 0.999"
            )
        self._trained = bare(network)
        self._decay, self._warm_up = decay, warm_up
        # What a BatchNorm counted belongs to the weights that it counted for: both are averaged.
        self._average = EMAHandler(self._trained, momentum=1 - decay, handle_buffers="update") if decay else None
        self.network: nn.Module = self._average.ema_model if self._average else self._trained

    def attach(self, engine: Engine) -> None:
        """Register with a `RoiTrainer`, after a loader of pretrained weights; `RunCheckpoints` does it for its own."""
        if self._average is None:
            return
        engine.add_event_handler(Events.STARTED, self._begin)
        stepped = Events.ITERATION_COMPLETED(event_filter=lambda trainer, iteration: trainer.steps_at(iteration))
        if self._warm_up:
            engine.add_event_handler(stepped, self._warm)
        self._average.attach(engine, event=stepped, warn_if_exists=False)

    def _warm(self, engine: Engine) -> None:
        """By the iteration, so that a training that goes on averages as one that was never stopped."""
        t = engine.state.iteration
        engine.state.ema_momentum = 1 - min(self._decay, (1 + t) / (10 + t))  # type: ignore[attr-defined]

    def _begin(self, engine: Engine) -> None:
        """Pretrained weights come when the run starts, after the average was made."""
        self.network.load_state_dict(self._trained.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """The average's weights; empty without an average."""
        return dict(self.network.state_dict()) if self._average else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if self._average:
            self.network.load_state_dict(state)
