"""A training in a process of its own, by the configuration that was checked before it was started.

In: what `training_task` made, on stdin. Out: what the bundle's `train.json` writes, an exit code. It does what
`python -m monai.bundle run` does with the same files, and reads none of them: they may be others by now.

    python -m lungseg3d.workflows.train.process < TASK.json
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from logging.config import fileConfig
from pathlib import Path
from typing import Any

from monai.bundle import BundleWorkflow, ConfigParser, ConfigWorkflow

from lungseg3d.core import LungSegError
from lungseg3d.io import CheckedBundle, is_trusting, trusting_bundles
from lungseg3d.workflows.train.checks import configuration_of, hold_weights

_REFUSED_EXIT = 3


def training_task(checked: CheckedBundle, overrides: Mapping[str, str], fold: int | None, out: Path) -> bytes:
    """What the process needs to know: the contents of the checked files, and what the command line says.

    Args:
        checked: the bundle, with `train.json` and overlays.
        overrides: configuration keys and their values as text.
        fold: held-out fold; None for what the configuration says.
        out: folder for what is written.
    """
    task = {
        "root": str(checked.root),
        "configs": checked.configs,
        "metadata": checked.metadata,
        "logging": checked.logging,
        "overrides": dict(overrides),
        "fold": fold,
        "out": str(out),
        "trust_bundle": is_trusting(),
    }
    return json.dumps(task).encode()


def train_from_task(task: bytes) -> None:
    """Train, as `python -m monai.bundle run` would.

    Raises:
        LungSegError: as `configuration_of` and `hold_weights`; whatever the training raises.
    """
    content = json.loads(task)
    root = Path(content["root"])
    checked = CheckedBundle(root, tuple(content["configs"]), (), content["metadata"], content["logging"])
    if checked.logging:
        text = io.StringIO(checked.logging)
        fileConfig(text, disable_existing_loggers=False)
    with trusting_bundles(content["trust_bundle"]):
        parser = configuration_of(checked, content["overrides"], fold=content["fold"], output_dir=content["out"])
        hold_weights(parser)
        if is_trusting():
            sys.path.insert(1, str(root))  # as MONAI does, for code beside the configuration
        workflow = _Workflow(parser)
        workflow.initialize()
        workflow.run()
        workflow.finalize()


class _Workflow(ConfigWorkflow):
    """MONAI's workflow around a parser that is there already, in place of files."""

    def __init__(self, parser: ConfigParser) -> None:
        BundleWorkflow.__init__(self, workflow_type="train")
        self.parser = parser
        self.init_id, self.run_id, self.final_id = "initialize", "run", "finalize"

    def run(self) -> list[Any]:
        """What the configuration has under `run`."""
        if self.run_id not in self.parser:
            raise LungSegError("E_CONFIGURATION", "the configuration has no key run, which trains", "Mend it.")
        return self._run_expr(id=self.run_id)


def main() -> int:
    """Train by the task on stdin; a refusal is three lines and no traceback."""
    try:
        train_from_task(sys.stdin.buffer.read())
    except LungSegError as error:
        print(error, file=sys.stderr, flush=True)
        return _REFUSED_EXIT
    return 0


if __name__ == "__main__":
    sys.exit(main())
