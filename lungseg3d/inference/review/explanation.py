"""Why a network calls a place a nodule: Grad-CAM of one nodule at one layer.

In: a network, a window with the nodule's mask. Out: a heat map of the window, 0 to 1. Knows no file and no label.

Grad-CAM: Selvaraju et al. 2017, ICCV. For a segmentation the score is the logit over a region (Seg-Grad-CAM:
Vinogradova et al. 2020, AAAI, arXiv:2002.11434): here the mean log-odds of nodule over the nodule's mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import torch
from monai.networks.utils import eval_mode
from monai.visualize import GradCAM
from torch import nn

from lungseg3d.core import UsageError
from lungseg3d.inference.review.nodule_windows import NoduleWindow

_INNER = "network"  # the network's name inside `_MeanLogit`, which the layers' names get as a prefix


@dataclass(frozen=True)
class Layer:
    """A layer that can be explained.

    Attributes:
        name: as in `network.named_modules()`.
        kind: class of the module.
        channels: of its output.
        shape: of its output, for the window that was asked.
    """

    name: str
    kind: str
    channels: int
    shape: tuple[int, int, int]


class _MeanLogit(nn.Module):
    """The network as a classifier of one nodule: image (1, 1, x, y, z) -> mean log-odds in the mask, (1, 1)."""

    def __init__(self, network: nn.Module, mask: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.mask: torch.Tensor
        self.register_buffer("mask", mask)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (1, 1, x, y, z) -> (1, 1)."""
        logits = self.network(image).float()
        odds = torch.logsumexp(logits[:, 1:], dim=1) - logits[:, 0]
        mean: torch.Tensor = ((odds * self.mask).sum() / self.mask.sum()).reshape(1, 1)
        return mean


def list_layers(network: nn.Module, image: torch.Tensor) -> list[Layer]:
    """Every module of the network that gives a feature map (1, C, x, y, z), in the order in which they run.

    Args:
        network: in eval mode.
        image: (1, x, y, z), one window.
    """
    found: dict[str, Layer] = {}

    def noting(name: str) -> Callable[..., None]:
        def note(module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 5:
                x, y, z = output.shape[2:]
                found.setdefault(name, Layer(name, type(module).__name__, int(output.shape[1]), (x, y, z)))

        return note

    hooks = [module.register_forward_hook(noting(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad(), eval_mode(network):
            network(image[None].to(_device(network)))
    finally:
        for hook in hooks:
            hook.remove()
    return list(found.values())


def default_layer(layers: list[Layer]) -> str:
    """What runs right before the last convolution: the last features from which the answer is made.

    Deeper layers say less here: with the shipped weights and 12 nodules of LIDC, 75 % of the heat at this layer lies
    within 3 mm of the reader's outline and its peak always does; at the end of the encoder 3 %, and the peak rarely.

    Raises:
        UsageError: E_NO_LAYER, the network has no feature map before a convolution.
    """
    last = max((i for i, layer in enumerate(layers) if "Conv" in layer.kind), default=0)
    if not last:
        raise UsageError("E_NO_LAYER", "this network has no features before a convolution", "Name a layer.")
    return layers[last - 1].name


def grad_cam(network: nn.Module, window: NoduleWindow, layer: str) -> np.ndarray:
    """Where the features of `layer` speak for the nodule: (side, side, side) float32, largest value 1; 0 if nowhere.

    Raises:
        UsageError: E_NO_LAYER for a name that the network has not, with the nearest.
    """
    names = [name for name, _ in network.named_modules() if name]
    if layer not in names:
        nearest = get_close_matches(layer, names, n=1)
        way_out = f"Did you mean {nearest[0]}? " if nearest else ""
        raise UsageError("E_NO_LAYER", f"the network has no layer {layer}", f"{way_out}--list-layers names them.")
    device = _device(network)
    image = window.image[None].float().to(device).requires_grad_()  # so that every layer gets a gradient
    with _untouched(network), torch.enable_grad():
        wrapped = _MeanLogit(network, torch.from_numpy(window.mask)[None].to(device)).eval()
        cam = GradCAM(wrapped, f"{_INNER}.{layer}", postprocessing=lambda heat: heat)
        try:
            heat = cam(image, class_idx=0)[0, 0].detach().float().cpu().numpy()
        except (RuntimeError, AttributeError, IndexError, KeyError) as error:
            text = f"layer {layer} gives no feature map with a gradient ({type(error).__name__})"
            raise UsageError("E_NO_LAYER", text, "--list-layers names those that do.") from error
    peak = float(heat.max())
    share: np.ndarray = (heat / peak if peak > 0 else heat).astype(np.float32)
    return share


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """The network as it was when the block ends: MONAI leaves its hooks in it, and it segments on afterwards."""
    training = network.training
    kept = [(module, module._forward_hooks.copy(), module._backward_hooks.copy()) for module in network.modules()]
    # Hooks on gradients cannot live with layers that write over their input.
    in_place = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    try:
        for module in in_place:
            module.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for module, forward, backward in kept:
            module._forward_hooks, module._backward_hooks = forward, backward
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]
        network.zero_grad(set_to_none=True)
        network.train(training)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
