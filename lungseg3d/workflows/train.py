"""`train`: a bundle's training with overlays and overrides, run as `python -m monai.bundle run` would.

In: a bundle and choices. Out: what the bundle's `train.json` writes under its `output_dir`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from lungseg3d.core import BundleError


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
        network, training: names of overlays in `configs/networks/` and `configs/training/`.
        fold: held-out fold.
        overrides: configuration keys (`a::b` for nested ones) and their values as text.
        out: folder for weights, logs and tracking; default `runs/<bundle>` in the current folder.

    Raises:
        BundleError: E_NO_BUNDLE without a `train.json`; E_NO_OVERLAY for an unknown overlay, with the nearest name.
    """
    root = Path(bundle).absolute()
    configs = [root / "configs" / "train.json"]
    if not configs[0].is_file():
        raise BundleError("E_NO_BUNDLE", f"{bundle} has no configs/train.json", "Give the root folder of a bundle.")
    configs += [_overlay(root, kind, name) for kind, name in (("networks", network), ("training", training)) if name]
    out = Path(out).absolute() if out is not None else Path.cwd() / "runs" / root.name
    files = "[" + ",".join(f"'{config}'" for config in configs) + "]"
    words = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(root), "--config_file", files]
    words += ["--meta_file", str(root / "configs" / "metadata.json"), "--output_dir", str(out)]
    if fold is not None:
        words += ["--fold", str(fold)]
    for key, value in (overrides or {}).items():
        words += [f"--{key}", value]
    return words


def train(bundle: Path | str, **choices: object) -> int:
    """Print the equal `python -m monai.bundle run ...` line and run it.

    Takes what `train_command` takes.

    Returns:
        Exit code of the training, 0 when it finished.
    """
    words = train_command(bundle, **choices)  # type: ignore[arg-type]
    print("python " + shlex.join(words[1:]), flush=True)
    Path(words[words.index("--output_dir") + 1]).mkdir(parents=True, exist_ok=True)
    return subprocess.run(words, check=False, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}).returncode


def _overlay(root: Path, kind: str, name: str) -> Path:
    path = root / "configs" / kind / f"{name}.json"
    if path.is_file():
        return path
    known = sorted(overlay.stem for overlay in path.parent.glob("*.json"))
    nearest = get_close_matches(name, known, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"There are: {', '.join(known) or 'none'}."
    raise BundleError("E_NO_OVERLAY", f"{root.name} has no configs/{kind}/{name}.json", hint)
