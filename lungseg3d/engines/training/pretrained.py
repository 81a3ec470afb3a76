"""Weights that a training or an evaluation starts from: checked, and loaded whole or not at all.

In: a file of weights. Out: the network with these weights, before the first iteration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from lungseg3d.engines.training.identity import bare
from lungseg3d.tensors import load_weights


class PretrainedWeights:
    """Handler of a trainer or evaluator: loads weights when it starts.

    Args:
        path: a state dict as `torch.save` writes it (`model.pt`, `best.pt`), or a `last.pt`, of which the network's
            weights are taken.
        network: every key and every shape must be that network's.

    Starting the engine raises BundleError: E_UNSAFE_CHECKPOINT, E_BAD_CHECKPOINT with what does not fit.
    """

    def __init__(self, path: Path | str, network: nn.Module) -> None:
        self.path, self.network = Path(path), network

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(Events.STARTED, self.load)

    def load(self, engine: Any) -> None:
        """Load them."""
        load_weights(bare(self.network), self.path, inside="model")
