"""How an optimiser's step is taken: in which precision, over how many batches, how far.

In: values of a configuration. Out: one noun that a trainer takes. Knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lungseg3d.tensors import PRECISIONS


@dataclass(frozen=True)
class StepPlan:
    """How a `RoiTrainer` steps.

    Attributes:
        precision: `auto`, `fp32`, `bf16` or `fp16`; gradients are scaled for `fp16` only, where they need it.
        accumulation: batches whose gradients are averaged for one step; at an epoch's end a step is taken in any case.
        max_gradient_norm: gradients are clipped to this total norm; None does not clip.
        channels_last: memory format of network and images; the fast one for 3D convolutions on CPU and tensor cores.
        compile: whether the network goes through `torch.compile`; worth its minutes on a GPU and a long training.
        compile_options: arguments of `torch.compile`, such as {"mode": "max-autotune"}.

    Raises:
        ValueError: a precision without a name, an accumulation below 1, a norm that is not positive.
    """

    precision: str = "auto"
    accumulation: int = 1
    max_gradient_norm: float | None = 12.0
    channels_last: bool = True
    compile: bool = False
    compile_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        if self.accumulation < 1:
            raise ValueError(f"accumulation is {self.accumulation}, expected at least 1 batch a step")
        if self.max_gradient_norm is not None and not self.max_gradient_norm > 0:
            raise ValueError(f"max_gradient_norm is {self.max_gradient_norm}, expected a positive number or null")
