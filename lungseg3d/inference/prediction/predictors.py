"""A network and how it is to be computed -> a predictor: one call, logits out, whatever computes them.

In: a network with its weights, a backend's name, a precision's name. Out: `Predictor`. Knows no window and no label.
PyTorch runs everywhere; `compile` is PyTorch's own compiler; OpenVINO (extra `openvino`) is the faster one on CPUs
without bfloat16 units. `auto` takes what the machine does well and says what it took.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import weakref
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.utils import eval_mode

from lungseg3d.core import Box, BundleError
from lungseg3d.inference.prediction.folding import folded
from lungseg3d.inference.prediction.meter import Predictor, watched
from lungseg3d.tensors import autocast_for, obstacle_to, resolve_precision
from lungseg3d.tensors.trial import OPENVINO_PRECISIONS

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "torch", "compile", "openvino")
_EXAMPLE_SIDE = 32
_MOST_OFF = 1e-2


@dataclass(frozen=True)
class Plan:
    """What computes a network.

    Attributes:
        backend: `torch`, `compile` or `openvino`.
        precision: `fp32`, `bf16` or `fp16`.
        reason: why, as a sentence for people.
    """

    backend: str
    precision: str
    reason: str


def choose(backend: str, precision: str, device: torch.device | str) -> Plan:
    """What `auto` means on this machine; what was asked for by name stays, and is tried first.

    PyTorch in fp32 is taken as it is. Everything else that is asked for by name computes a small convolution, see
    `lungseg3d.tensors.obstacle_to`.

    Raises:
        ValueError: a name that is none of `BACKENDS` or `PRECISIONS`.
        BundleError: E_BACKEND when OpenVINO is asked for and is not installed, or for a GPU or a precision that it does
            not take, or when a backend does not work here; E_PRECISION for a precision that this machine cannot
            compute.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    kind = torch.device(device).type
    resolved = resolve_precision(precision, device)
    if backend == "openvino":
        _check_openvino(kind, resolved)
    if backend != "auto" or precision != "auto":
        _check_by_trial("torch" if backend == "auto" else backend, resolved, device)
    if backend != "auto":
        return Plan(backend, resolved, "asked for by name")
    if kind != "cpu":
        return Plan("torch", resolved, f"{kind} multiplies {resolved} in hardware")
    if resolved == "fp32" and has_openvino():
        return Plan("openvino", "fp32", "OpenVINO's fp32 is faster than PyTorch's on a CPU")
    if resolved == "bf16":
        return Plan("torch", "bf16", "this CPU multiplies bfloat16 in hardware")
    hint = "" if resolved != "fp32" else "; pip install 'lungseg3d[openvino]' makes fp32 faster"
    return Plan("torch", resolved, "PyTorch is always there" + hint)


def has_openvino() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def predictor_of(network: torch.nn.Module, backend: str = "auto", precision: str = "auto") -> Predictor:
    """The predictor of a network, made once for its present weights.

    Where `auto` chose OpenVINO and it cannot take the network, PyTorch does the work, and a warning says so.

    Raises:
        BundleError: E_BACKEND when OpenVINO was asked for by name and cannot take the network.
        ValueError: names that are not known.
    """
    weights = _weights_of(network)
    made, made_for = _KNOWN.get(network, ({}, weights))
    made = made if made_for == weights else {}
    if (backend, precision) not in made:
        plan = choose(backend, precision, device_of(network))
        try:
            made[backend, precision] = _made(network, plan)
        except BundleError as error:
            if backend != "auto":
                raise
            logger.warning("%s PyTorch is used instead.", error.message)
            made[backend, precision] = _made(network, Plan("torch", plan.precision, "OpenVINO did not take it"))
    _KNOWN[network] = (made, weights)
    return watched(made[backend, precision], network)


def computes_in_slabs(network: torch.nn.Module, backend: str, precision: str) -> bool:
    """Whether a network that knows its parts is asked for them, see `networks.blocks.part`; else all is computed."""
    return choose(backend, precision, device_of(network)).backend == "torch"


def device_of(network: torch.nn.Module) -> torch.device:
    """Where a network's weights lie; the CPU for a network without any."""
    first = next(itertools.chain(network.parameters(), network.buffers()), None)
    return torch.device("cpu") if first is None else first.device


_Made = dict[tuple[str, str], Predictor]
_KNOWN: weakref.WeakKeyDictionary[torch.nn.Module, tuple[_Made, Hashable]] = weakref.WeakKeyDictionary()


def _weights_of(network: torch.nn.Module) -> Hashable:
    """Changes with every change of the weights, in place or not."""
    return tuple((t.data_ptr(), t._version) for t in itertools.chain(network.parameters(), network.buffers()))


def _made(network: torch.nn.Module, plan: Plan) -> Predictor:
    if plan.backend == "openvino":
        return _OpenVino(network, plan.precision)
    if plan.backend == "torch" and device_of(network).type == "cpu":
        copied = folded(network, plan.precision)
        if copied is not None:
            return _Folded(copied, plan.precision)
    return _Torch(network, plan.precision, compiled=plan.backend == "compile")


class _Torch:
    def __init__(self, network: torch.nn.Module, precision: str, compiled: bool = False) -> None:
        self._network = weakref.ref(network)  # a weak key must not be held by its own value
        self._precision = precision
        self._forward: Callable[..., torch.Tensor] | None = None
        if compiled:
            # On a CPU torch 2.13 cannot compile bf16 convolutions of sizes that it does not know.
            self._forward = torch.compile(type(network).forward, dynamic=device_of(network).type != "cpu")

    def __call__(self, images: torch.Tensor, part: Box | None = None) -> torch.Tensor:
        network = self._network()
        assert network is not None, "a predictor is used while its network lives"
        device = device_of(network)
        images = images.to(device).contiguous(memory_format=torch.channels_last_3d)
        # MONAI post-processes after it has put the network back into training mode.
        with eval_mode(network), autocast_for(self._precision, device):
            if self._forward is None:
                return _logits(network, images, part)
            return _part_of(self._forward(network, images), part).float()


class _Folded:
    """A network's copy for the CPU, see `folded`; one whose weights are all of one type needs no autocast."""

    def __init__(self, network: torch.nn.Module, precision: str) -> None:
        self._network, self._precision = network, precision
        dtypes = {tensor.dtype for tensor in itertools.chain(network.parameters(), network.buffers())}
        self._dtype = dtypes.pop() if len(dtypes) == 1 else None

    def __call__(self, images: torch.Tensor, part: Box | None = None) -> torch.Tensor:
        images = images.to("cpu", self._dtype).contiguous(memory_format=torch.channels_last_3d)
        with torch.no_grad(), nullcontext() if self._dtype else autocast_for(self._precision, "cpu"):
            return _logits(self._network, images, part)


class _OpenVino:
    def __init__(self, network: torch.nn.Module, precision: str) -> None:
        _check_openvino(device_of(network).type, precision)
        example = torch.linspace(0, 1, _EXAMPLE_SIDE**3).reshape(1, 1, *3 * (_EXAMPLE_SIDE,))
        try:
            import openvino

            with eval_mode(network), torch.no_grad():
                traced = torch.jit.trace(network, example, check_trace=False)
                model = openvino.convert_model(traced, example_input=example)
                expected = network(example)
            model.reshape([-1, 1, -1, -1, -1])
            # OpenVINO's CPU default is bfloat16 where the CPU has it; the one that was asked for is taken.
            hint = OPENVINO_PRECISIONS[precision]
            threads = torch.get_num_threads()
            settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
            self._compiled = openvino.Core().compile_model(model, "CPU", settings)
            taken = self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            _check_answer(self(example), expected, is_exact=taken == hint == "f32")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise BundleError(
                "E_BACKEND",
                f"OpenVINO cannot take {type(network).__name__} ({reason}).",
                "[Use --backend=torch.|Install another version of OpenVINO, or none.]",
            ) from error
        if taken != hint:
            text = f"OpenVINO computes {type(network).__name__} in {taken}, not in {precision}, on this processor."
            raise BundleError(
                "E_PRECISION", text, "[Use --precision=fp32, or --backend=torch.|Choose the precision fp32.]"
            )

    def __call__(self, images: torch.Tensor, part: Box | None = None) -> torch.Tensor:
        (logits,) = self._compiled([images.float().contiguous().cpu().numpy()]).values()
        return _part_of(torch.from_numpy(logits), part)


def _check_answer(found: torch.Tensor, expected: torch.Tensor, is_exact: bool) -> None:
    """Raise for logits of another shape, not finite, or in fp32 far off PyTorch's."""
    if found.shape != expected.shape:
        raise ValueError(f"it answers with the shape {tuple(found.shape)} instead of {tuple(expected.shape)}")
    off = float((found - expected).norm() / expected.norm().clamp_min(1e-6))
    if not torch.isfinite(found).all() or (is_exact and off > _MOST_OFF):
        raise ValueError(f"its logits are wrong: {off:.2g} of their norm off")


def _logits(network: torch.nn.Module, images: torch.Tensor, part: Box | None) -> torch.Tensor:
    """Of a part; some networks compute it for less, of the others it is cut out."""
    offers: Any = network
    if part is not None and hasattr(network, "part") and offers.has_part(images.shape):
        logits: torch.Tensor = offers.part(images, part).float()
        return logits
    return _part_of(network(images), part).float()


def _part_of(logits: torch.Tensor, part: Box | None) -> torch.Tensor:
    if part is None:
        return logits
    x, y, z = part.slices
    return logits[:, :, x, y, z]


def _check_by_trial(backend: str, precision: str, device: torch.device | str) -> None:
    if (backend, precision) == ("torch", "fp32") and torch.device(device).type == "cpu":
        return
    obstacle = obstacle_to(backend, precision, device)
    if not obstacle:
        return
    here = "this processor" if torch.device(device).type == "cpu" else str(device)
    if precision == "fp32":
        text = f"--backend {backend} does not work on {here}: {obstacle}."
        raise BundleError("E_BACKEND", text, "[Use --backend=auto, or torch.|Choose the backend torch.]")
    by = {"torch": "PyTorch", "compile": "PyTorch's compiler", "openvino": "OpenVINO"}[backend]
    text = f"--precision {precision}: {by} does not compute it on {here}: {obstacle}."
    remedy = "[Use --precision=auto, or fp32.|Choose the precision fp32.]"
    if backend != "torch":
        remedy = "[Use --precision=fp32, or --backend=torch.|Choose the precision fp32.]"
    raise BundleError("E_PRECISION", text, remedy)


def _check_openvino(device: str, precision: str) -> None:
    if not has_openvino():
        raise BundleError("E_BACKEND", "OpenVINO is not installed.", "pip install 'lungseg3d[openvino]'")
    if device != "cpu":
        raise BundleError(
            "E_BACKEND", f"OpenVINO runs on the CPU here, not on {device}.", "[Use --device=cpu.|Choose the CPU.]"
        )
    if precision not in OPENVINO_PRECISIONS:
        raise BundleError(
            "E_BACKEND",
            f"OpenVINO has no {precision} on a CPU.",
            "[Use --precision=fp32, or bf16.|Choose fp32 or bf16.]",
        )
