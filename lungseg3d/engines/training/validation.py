"""Whether a training's validation can say anything, and a mean Dice that says so where it cannot.

In: an evaluator and its data set. Out: a metric, warnings, E_EMPTY_FOLD. Knows no file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from monai.handlers.mean_dice import MeanDice as MonaiMeanDice

from lungseg3d.core import BundleError

_MOST_NAMED = 5
_NEEDS_A_METRIC = ("EarlyStop", "ReduceLROnPlateau")


class MeanDice(MonaiMeanDice):
    """MONAI's mean Dice, not a number where it is defined for no case at all.

    A case without a reference voxel has no Dice and is left out of the mean; where that leaves nothing, MONAI says 0,
    which is a score that a network can be chosen by.
    """

    def compute(self) -> Any:
        """Mean over the cases that have one, or NaN."""
        mean = super().compute()
        values = self.metric_fn.get_buffer()
        if values is not None and bool(torch.isnan(torch.as_tensor(values)).all()):
            return torch.full_like(torch.as_tensor(mean), float("nan"))
        return mean


def check_validation(validator: Any, followers: Mapping[str, Any], logger: logging.Logger | None) -> bool:
    """Look whether any held-out case has a labelled voxel, before the training starts.

    Args:
        validator: evaluator with a `data_loader` of a data set of dictionaries with "label".
        followers: parts of the training by name; those that follow the metric (early stop, plateau schedule) cannot
            work without one.
        logger: gets W_EMPTY_FOLD; None for processes that are silent.

    Returns:
        Whether the metric is defined.

    Raises:
        BundleError: E_EMPTY_FOLD where a part of the training follows a metric that is not defined.
    """
    cases = getattr(getattr(validator, "data_loader", None), "dataset", None)
    if cases is None or len(cases) == 0 or _any_labelled(cases):
        return True
    names = [str(case["case_id"]) for case in getattr(cases, "data", ()) if isinstance(case, Mapping)]
    named = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    text = (
        f"the labels of all {len(cases)} cases to validate on{f' ({named})' if named else ''} are empty on the working "
        "grid: there is no nodule or other structure in them, so mean Dice is not defined"
    )
    remedy = "Hold out another fold, or deal the cases into folds so that each has some with a label."
    following = [name for name, part in followers.items() if _follows_metric(part)]
    if following:
        text += f", which {', '.join(following)} must follow"
        raise BundleError("E_EMPTY_FOLD", f"{text}.", remedy)
    if logger is not None:
        logger.warning(f"W_EMPTY_FOLD: {text}. The training cannot be validated, and no best.pt is chosen. {remedy}")
    return False


def _any_labelled(cases: Iterable[Any]) -> bool:
    return any(bool((torch.as_tensor(case["label"]) > 0).any()) for case in cases)


def _follows_metric(part: Any) -> bool:
    if type(part).__name__ not in _NEEDS_A_METRIC:
        return False
    return getattr(part, "patience", None) is not None
