"""What a comparison consists of: its members, their settings, and whether all of it can be done at all.

In: a bundle, names, folds, seeds, overrides. Out: a `ComparisonPlan` of `Member`s; a `UsageError` before any training.
Reads configurations and manifests, no pixel and no weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import lungseg3d
from lungseg3d.core import UsageError
from lungseg3d.data import read_manifest
from lungseg3d.io import CheckedBundle, bundle_folder, check_bundle, sha256_of, signature_of
from lungseg3d.workflows.train.run import train_command, training_files

WEIGHTS = ("model", "best")
_SET_BY_US = {
    "bundle_root": "BUNDLE",
    "fold": "--folds",
    "seed": "--seeds",
    "output_dir": "--out",
    "parent_run": "--out",
    "resume": "--out",
}


@dataclass(frozen=True)
class Choices:
    """What was asked for.

    Attributes:
        bundle: root folder of the bundle.
        networks: names of overlays in `configs/networks/`; the others are tested against the first one.
        folds: held-out folds; empty for the cases that the bundle itself validates on.
        seeds: seeds of the trainings.
        training: name of an overlay in `configs/training/`, or None.
        overrides: configuration keys (`a::b` for nested ones) and their values as text, for training and evaluation.
        minutes: training time of each member; None for the number of steps that the configuration says.
        weights: `model` for the weights after the last epoch; `best` for those of the best validation, which were
            chosen on the very cases they are measured on.
        trust_bundle: the bundle may run code.
    """

    bundle: Path
    networks: tuple[str, ...]
    folds: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    training: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    weights: str = "model"
    minutes: float | None = None
    trust_bundle: bool = False


@dataclass(frozen=True)
class Member:
    """One network, trained with one seed without one fold.

    Attributes:
        network, fold, seed: which one; fold None where the bundle has no folds.
        settings: all that its numbers depend on: checksums of configurations and manifests, overrides, held-out cases,
            version.
        folder: where it lives; its name holds the settings' checksum, so other settings are another folder.
        command: the training, as words of `python -m monai.bundle run`.
        configs: configuration files, in order.
        overrides: keys and values as text.
        structures: what is segmented, in the order of the foreground classes.
        epochs, steps: of the training; a step is one batch. None where the bundle does not say.
        task: what the process that trains is given, see `training_task`; empty for one that runs `command` itself.
    """

    network: str
    fold: int | None
    seed: int
    settings: Mapping[str, Any]
    folder: Path
    command: tuple[str, ...]
    configs: tuple[Path, ...]
    overrides: Mapping[str, str]
    structures: tuple[str, ...]
    epochs: int | None = None
    steps: int | None = None
    task: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """Such as `light_unet-fold-0-seed-1`, for people and for MLflow."""
        return member_name(self.network, self.fold, self.seed)

    @cached_property
    def settings_sha256(self) -> str:
        """Checksum of `settings`, 64 hexadecimal digits."""
        return settings_sha256(self.settings)


@dataclass(frozen=True)
class ComparisonPlan:
    """A comparison that can be done: its members, network by network."""

    choices: Choices
    out: Path
    members: tuple[Member, ...]
    structures: tuple[str, ...]
    experiment: str

    def without(self, names: Collection[str]) -> ComparisonPlan:
        """The same plan without the members of these names."""
        return replace(self, members=tuple(member for member in self.members if member.name not in names))


def plan_comparison(
    choices: Choices, out: Path | str, batches_per_epoch: Mapping[str, int] | None = None
) -> ComparisonPlan:
    """Check every choice and name every member.

    Args:
        choices: what to compare.
        out: folder of the comparison.
        batches_per_epoch: of networks; for the others, and with None, what the configuration says.

    Raises:
        UsageError: E_NO_OVERLAY, E_NO_KEY, E_OVERRIDE or E_NO_FOLD, with the nearest name or the names that there are.
        BundleError: E_NO_BUNDLE, E_CLASS_COUNT.
        LungSegError: E_MANIFEST, E_MISSING_DATA, E_SPLIT_LEAK as `lungseg3d.data.load_datalist` finds them.
    """
    from lungseg3d.workflows.train.checks import check_training, configuration_of

    out, root = Path(out).absolute(), bundle_folder(choices.bundle)
    set_by_us = _SET_BY_US | ({"batches_per_epoch": "--minutes"} if choices.minutes else {})
    for key in choices.overrides:
        if key.replace("::", "#").split("#")[0] in set_by_us:
            instead = set_by_us[key.replace("::", "#").split("#")[0]]
            raise UsageError("E_OVERRIDE", f"{key} is what {instead} says in a comparison", f"Use {instead}.")
    members: list[Member] = []
    experiment = root.name
    for network in choices.networks:
        if Path(network).name != network or network.endswith(".json"):
            text = f"{network} is a file, and compare takes names of {root.name}/configs/networks."
            raise UsageError("E_NO_OVERLAY", text, "Put the file there, and give its name without .json.")
        configs = tuple(training_files(root, network, choices.training))
        overrides = dict(choices.overrides)
        if batches_per_epoch and network in batches_per_epoch:
            overrides["batches_per_epoch"] = str(batches_per_epoch[network])
        checked = check_bundle(root, configs)
        for fold in choices.folds or (None,):
            parser = configuration_of(checked, overrides, fold=fold)
            check_training(parser, root)
            experiment = _experiment(parser) or experiment
            trained = _Trained(network, fold, configs, overrides, parser, checked)
            members += [_member(choices, trained, seed, out) for seed in choices.seeds]
    return ComparisonPlan(choices, out, tuple(members), members[0].structures, experiment)


def structures_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the foreground classes of a bundle, such as ("right lung", "left lung"), from its metadata."""
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    return tuple(channels[key].removesuffix(", logit") for key in sorted(channels, key=int) if int(key) > 0)


def member_name(network: str, fold: int | None, seed: int) -> str:
    """`<network>-fold-<fold>-seed-<seed>`, without the fold where there is none."""
    return f"{network}-" + (f"fold-{fold}-" if fold is not None else "") + f"seed-{seed}"


def parent_name(out: Path) -> str:
    """Name of the MLflow run that holds all members: the folder's, and what tells two folders of one name apart."""
    return f"{out.name}-{hashlib.sha256(str(out).encode()).hexdigest()[:8]}"


def settings_sha256(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _manifests(parser: Any) -> dict[str, str]:
    """Checksum of each manifest that the configuration names, and of the files that no manifest has a checksum of."""
    from lungseg3d.workflows.train.checks import data_lists

    keys = [key for key in parser.get() if key.endswith("manifest")]
    contents = {key: read_manifest(parser.get_parsed_content(key)) for key in keys}
    sums = set()
    for content, entries in data_lists(parser):
        cases = {case["case_id"]: case for case in content["cases"]}
        for entry in entries:
            case = cases[entry["case_id"]]
            for role in case["files"].keys() - (case.get("sha256") or {}).keys():
                sums.add(f"{entry['case_id']} {role} {_sum_of(entry[role], signature_of(entry[role]))}")
    found = {key: settings_sha256(content) for key, content in contents.items()}
    return found | ({"files": hashlib.sha256("\n".join(sorted(sums)).encode()).hexdigest()} if sums else {})


@cache
def _sum_of(path: str, signature: str) -> str:
    """SHA-256 of a file or folder, read once as long as its signature stays."""
    return sha256_of(path)


def _experiment(parser: Any) -> str | None:
    """Where the bundle's own tracking writes to."""
    for handler in parser.get("train#handlers", []):
        if str(handler.get("_target_", "")).endswith(".RunTracking"):
            name: str | None = handler.get("experiment")
            return name
    return None


@dataclass(frozen=True)
class _Trained:
    """What all seeds of one network without one fold have in common."""

    network: str
    fold: int | None
    configs: tuple[Path, ...]
    overrides: Mapping[str, str]
    parser: Any
    checked: CheckedBundle


def _member(choices: Choices, trained: _Trained, seed: int, out: Path) -> Member:
    from lungseg3d.workflows.train.checks import held_out
    from lungseg3d.workflows.train.process import training_task

    network, fold, parser = trained.network, trained.fold, trained.parser
    settings = {
        "version": lungseg3d.__version__,
        "bundle": trained.checked.root.name,
        "configs": {path.stem: sum_ for path, sum_ in zip(trained.configs, trained.checked.sums, strict=True)},
        "network": network,
        "fold": fold,
        "seed": seed,
        "overrides": dict(trained.overrides),
        "weights": choices.weights,
        "cases": held_out(parser),
        "manifests": _manifests(parser),
    }
    name = member_name(network, fold, seed)
    folder = out / "members" / f"{name}-{settings_sha256(settings)[:8]}"
    overrides = dict(trained.overrides) | {"seed": str(seed)}
    if "cache_dir" in parser:
        overrides.setdefault("cache_dir", str(out / "cache"))  # what all members preprocess alike
    only_training = {"parent_run": parent_name(out)} if "parent_run" in parser else {}
    if "run_name#prefix" in parser:
        only_training["run_name::prefix"] = name
    said = overrides | only_training
    files = {"network": network, "training": choices.training}
    words = train_command(choices.bundle, **files, fold=fold, overrides=said, out=folder)
    task = training_task(trained.checked, said, fold, folder)
    epochs, batches = parser.get("epochs"), parser.get("batches_per_epoch")
    steps = epochs * batches if epochs and batches else None
    structures = structures_of(parser["_meta_"])
    command, configs = tuple(words), trained.configs
    return Member(network, fold, seed, settings, folder, command, configs, overrides, structures, epochs, steps, task)
