"""The end of a training that no longer gets better.

In: a trainer and the evaluator that it validates with. Out: a trainer that stops. The counting is Ignite's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ignite.engine import Events
from ignite.handlers import EarlyStopping
from monai.engines import Evaluator


class EarlyStop:
    """Handler of a trainer that stops it after `patience` validations without a new best key metric.

    Ignite's EarlyStopping must know the trainer when it is made; here the trainer's own configuration may name it. A
    training that was stopped and is started again stays stopped.

    Args:
        validator: evaluator with a key metric, larger is better.
        patience: validations; None never stops.
    """

    def __init__(self, validator: Evaluator, patience: int | None = None) -> None:
        self.validator, self.patience = validator, patience
        self._counting: EarlyStopping | None = None

    def attach(self, engine: Any) -> None:
        """Register with a trainer; `RunCheckpoints` does it for its objects."""
        if self.patience is None:
            return
        self._counting = EarlyStopping(self.patience, _key_metric, engine)
        self.validator.add_event_handler(Events.COMPLETED, self._counting)

    def state_dict(self) -> dict[str, Any]:
        """How many validations in a row brought no new best, and the best; empty before and without a patience."""
        return dict(self._counting.state_dict()) if self._counting and self._counting.best_score is not None else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave; the trainer that is about to begin ends at once if that one had been stopped."""
        if self._counting and state:
            self._counting.load_state_dict(state)
            if self._counting.counter >= self._counting.patience:
                self._counting.trainer.terminate()


def _key_metric(evaluator: Any) -> float:
    metric = float(evaluator.state.metrics[evaluator.state.key_metric_name])
    return -math.inf if math.isnan(metric) else metric  # else it would pass for a new best
