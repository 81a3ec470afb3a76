"""What an epoch of training amounts to: mean loss and its parts, learning rate, patches a second, peak memory.

In: the iterations of a trainer. Out: `{"train/loss": 0.41, ...}` for each epoch. Waits for no GPU within an epoch.
Knows no MLflow.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_GIB = 2.0**30


class LossParts:
    """The mean of each scalar that a loss is summed from, seen by hooks on its innermost modules.

    So a loss need not know that it is watched: DiceCELoss gives `dice` and `cross_entropy`, WeightedSum each of its
    losses by the name of its class. A loss without modules inside has no parts.

    Args:
        loss: any module.
    """

    def __init__(self, loss: Any) -> None:
        self._totals: dict[str, tuple[torch.Tensor, int]] = {}
        self._hooks: list[RemovableHandle] = []
        if isinstance(loss, nn.Module):
            for name, module in _innermost(loss):
                self._hooks.append(module.register_forward_hook(self._hook(name)))

    def take_means(self) -> dict[str, float]:
        """The means since the last call, by name."""
        means = {name: float(total) / count for name, (total, count) in self._totals.items()}
        self._totals.clear()
        return means

    def remove(self) -> None:
        """Watch no longer."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Any:
        def add(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.numel() == 1 and torch.is_grad_enabled():
                total, count = self._totals.get(name, (0.0, 0))
                self._totals[name] = (total + output.detach().float().squeeze(), count + 1)

        return add


class EpochMeter:
    """Measures one epoch after the other.

    Args:
        loss: the loss function, for its parts.
    """

    def __init__(self, loss: Any = None) -> None:
        self.parts = LossParts(loss)
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget what was measured."""
        self._loss: Any = 0.0
        self._iterations = self._patches = 0
        self._began = self._last = time.perf_counter()
        self.parts.take_means()

    def add_iteration(self, output: Any) -> None:
        """The output of a MONAI trainer after an iteration: a dictionary, or a list of them when it is decollated."""
        first = output[0] if isinstance(output, (list, tuple)) else output
        # Summed where it is: `.item()` would have every iteration wait for the GPU.
        self._loss = self._loss + torch.as_tensor(first["loss"]).detach().float()
        self._patches += len(output) if isinstance(output, (list, tuple)) else len(first["image"])
        self._iterations += 1
        self._last = time.perf_counter()

    def values(self, optimizer: torch.optim.Optimizer | None) -> dict[str, float]:
        """The epoch up to its last iteration; validation does not count as training time."""
        if self._iterations == 0:
            return {}
        loss = float(self._loss) / self._iterations
        # After the loss has been fetched, so that a GPU has done what was timed.
        took_s = max(1e-9, self._last - self._began)
        found = {"train/loss": loss}
        found |= {f"train/loss_{name}": mean for name, mean in self.parts.take_means().items()}
        rates = [float(group["lr"]) for group in optimizer.param_groups] if optimizer is not None else []
        found |= {f"train/learning_rate{f'_{i}' if i else ''}": rate for i, rate in enumerate(rates)}
        found |= {"speed/patches_per_s": self._patches / took_s, "speed/epoch_s": took_s}
        return found | peak_memory_gib()


def peak_memory_gib() -> dict[str, float]:
    """The most memory that this process has held, and has held on its GPU where it uses one."""
    found = {}
    if resource is not None:
        # Kibibytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        found["memory/process_peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["memory/gpu_peak_gib"] = torch.cuda.max_memory_allocated() / _GIB
    return found


def scalars(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics that are numbers, or tensors of a few, in one group: `val_mean_dice` becomes `val/mean_dice`."""
    found = {}
    for key, value in metrics.items():
        name = "val/" + re.sub(r"[^\w\-./ ]", "_", str(key)).removeprefix("val_")
        try:
            numbers = torch.as_tensor(value, dtype=torch.float64).flatten().tolist()
        except (TypeError, ValueError, RuntimeError):
            continue
        if len(numbers) == 1:
            found[name] = numbers[0]
        elif len(numbers) <= 32:
            found |= {f"{name}_{i}": number for i, number in enumerate(numbers)}
    return found


def _innermost(loss: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules without modules inside, with a name each: that of the attribute, or of the class in a list of losses."""
    taken: dict[str, int] = {}
    for path, module in loss.named_modules():
        if module is loss or any(True for _ in module.children()):
            continue
        last = path.rpartition(".")[2]
        is_named = not last.isdigit() and last not in ("loss", "losses")
        name = last if is_named else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(module).__name__).lower()
        name = name.removesuffix("_loss")
        taken[name] = taken.get(name, 0) + 1
        yield (name if taken[name] == 1 else f"{name}_{taken[name]}"), module
