"""`train`: a bundle's training with overlays and overrides, as `python -m monai.bundle run` would do it.

In: a bundle and choices. Out: what the bundle's `train.json` writes under its `output_dir`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lungseg3d.core import BundleError, UsageError
from lungseg3d.io import FolderLock, bundle_folder, check_bundle, check_writable, trusting_bundles
from lungseg3d.workflows.train.child import run_training, tell_how_to_go_on

_ENCODING = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
CHILD_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONSAFEPATH": "1",
    "PYTHONIOENCODING": f"{_ENCODING}:backslashreplace",
}
"""Of processes that train: they import nothing from the folder they are started in, which may be a bundle's, and show
as escapes what a terminal without UTF-8 cannot show of a case's name."""


def train_command(
    bundle: Path | str,
    *,
    network: str | None = None,
    training: str | None = None,
    fold: int | None = None,
    overrides: Mapping[str, str] | None = None,
    out: Path | str | None = None,
) -> list[str]:
    """The command line that trains, as a list of words.

    Args:
        bundle: root folder of the bundle.
        network, training: names of overlays in `configs/networks/` and `configs/training/`, or paths of `.json` files.
        fold: held-out fold.
        overrides: configuration keys (`a::b` for nested ones) and their values as text.
        out: folder for weights, logs and tracking; default `runs/<bundle>` in the current folder.

    Raises:
        BundleError: E_NO_BUNDLE without a `train.json`.
        UsageError: E_NO_OVERLAY for an unknown overlay, with the nearest name.
    """
    root = bundle_folder(bundle)
    configs = training_files(root, network, training)
    out = Path(out).absolute() if out is not None else Path.cwd() / "runs" / root.name
    files = "[" + ",".join(f"'{config}'" for config in configs) + "]"
    words = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root), "--config_file", files]
    words += ["--meta_file", str(root / "configs" / "metadata.json"), "--output_dir", str(out)]
    if fold is not None:
        words += ["--fold", str(fold)]
    for key, value in (overrides or {}).items():
        words += [f"--{key}", value]
    return words


def training_files(root: Path, network: str | None = None, training: str | None = None) -> list[Path]:
    """`train.json` of the bundle at `root` and the overlays of these names, each changing what came before.

    Raises:
        BundleError: E_NO_BUNDLE.
        UsageError: E_NO_OVERLAY.
    """
    first = root / "configs" / "train.json"
    if not first.is_file():
        raise BundleError("E_NO_BUNDLE", f"{root} has no configs/train.json", "Give the root folder of a bundle.")
    overlays = (("networks", network), ("training", training))
    return [first, *(_overlay(root, kind, name) for kind, name in overlays if name)]


def train(
    bundle: Path | str,
    *,
    network: str | None = None,
    training: str | None = None,
    fold: int | None = None,
    overrides: Mapping[str, str] | None = None,
    out: Path | str | None = None,
    trust: bool = False,
) -> int:
    """Look for what would fail, print the equal `python -m monai.bundle run ...` line, train, make a bundle of it.

    Takes what `train_command` takes, and whether the bundle may run code (`trust`). The process that trains is given
    the contents that were checked, and reads no configuration of the bundle again. A finished training leaves
    `<out>/bundle`, for `segment --nodule-bundle`, where it wrote `model.pt` and the bundle has an `inference.json`.
    One training at a time holds `out`. One that a signal stops says on stderr by which line it goes on.

    Returns:
        Exit code of the training, 0 when it finished; 128 + the signal's number where one stopped it.

    Raises:
        BundleError: E_NO_BUNDLE, E_CLASS_COUNT, E_UNTRUSTED_CONFIG.
        UsageError: E_NO_OVERLAY, E_NO_KEY, E_NO_FOLD.
        LungSegError: E_MANIFEST, E_MISSING_DATA, E_SPLIT_LEAK.
        OutputError: E_LOCKED when another training works in `out`; E_WRITE, E_NO_SPACE.
    """
    from lungseg3d.engines.training.beginning import LOCK_NAME
    from lungseg3d.workflows.train.checks import check_training, configuration_of
    from lungseg3d.workflows.train.process import training_task

    words = train_command(bundle, network=network, training=training, fold=fold, overrides=overrides, out=out)
    root, folder = bundle_folder(bundle), Path(words[words.index("--output_dir") + 1])
    settings = overrides or {}
    with trusting_bundles(trust):
        checked = check_bundle(root, training_files(root, network, training))
        configuration = configuration_of(checked, settings, fold=fold, output_dir=str(folder))
        check_training(configuration, root)
        task = training_task(checked, settings, fold, folder)
    command = "python " + shlex.join(words[1:])
    print(command, flush=True)
    check_writable(folder)
    lock = FolderLock(folder / LOCK_NAME)
    try:
        code = run_training(task, CHILD_ENVIRONMENT, lock)
        if code == 0:
            _leave_bundle(root, configuration, folder, command)
    finally:
        lock.release()
    tell_how_to_go_on(code, _line_to_go_on(bundle, network, training, fold, settings, out, trust), folder)
    return code


def _leave_bundle(root: Path, configuration: Any, folder: Path, command: str) -> None:
    from lungseg3d.workflows.train.bundle import write_trained_bundle

    weights, inference = folder / "model.pt", root / "configs" / "inference.json"
    if weights.is_file() and inference.is_file():
        print(f"Wrote {write_trained_bundle(root, configuration, weights, folder / 'bundle', command)}")


def _line_to_go_on(
    bundle: Path | str,
    network: str | None,
    training: str | None,
    fold: int | None,
    overrides: Mapping[str, str],
    out: Path | str | None,
    trust: bool,
) -> list[str]:
    """The line that goes on with a training; `resume` is left out, as its one other value would start anew."""
    words = ["lungseg3d", "train", str(bundle)]
    named = {"--network": network, "--training": training, "--fold": fold, "--out": out}
    for option, value in named.items():
        words += [option, str(value)] if value is not None else []
    for key, value in overrides.items():
        words += ["--set", f"{key}={value}"] if key != "resume" else []
    return [*words, *(["--trust-bundle"] if trust else [])]


def _overlay(root: Path, kind: str, name: str) -> Path:
    """The file of an overlay: of a name in the bundle, or a file of one's own by its path, `FILE.json`."""
    path = root / "configs" / kind / f"{name.removesuffix('.json')}.json"
    is_name = Path(name).name == name
    if is_name and path.is_file():
        return path
    if name.endswith(".json"):
        if Path(name).is_file():
            return Path(name).absolute()
        text = f"{name}: there is no such file, and {root.name} has no configs/{kind}/{Path(name).name}."
        raise UsageError("E_NO_OVERLAY", text, "Give a name of configs/" + kind + ", or a file such as ./network.json.")
    known = sorted(overlay.stem for overlay in path.parent.glob("*.json"))
    nearest = get_close_matches(name, known, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"There are: {', '.join(known) or 'none'}."
    raise UsageError("E_NO_OVERLAY", f"{root.name} has no configs/{kind}/{name}.json", hint)
