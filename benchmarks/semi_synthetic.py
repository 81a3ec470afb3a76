"""How many nodules are found in whole CTs, and at how many false ones: real nodules of a held-out fold, put into CTs.

Every nodule of `nodules_luna` is put, turned at random, into a lung of a CT that no training saw (`lung1-001`,
`ricord-000082`), at most 11 into one copy of a CT, and segmented by `lungseg3d segment` with the weights of the fold
that held it out. `lungseg3d evaluate` then counts: a nodule is found where one that was predicted overlaps it
by an IoU of 0.1. All else counts as false, although both CTs are of sick lungs and nobody read them for nodules: what
the same weights mark in the CTs as they were is counted beside it. `results/semi_synthetic.md` is older: its nodules
were those of `nodules_lidc`, another set, and its scores do not compare with those of this one.

    python -m benchmarks.semi_synthetic --weights 'runs/search-{fold}/model.pt' --data ../shared/data
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.fold_bundle import bundle_of_fold
from lungseg3d.analysis import segment_lungs_by_rules
from lungseg3d.core import Volume
from lungseg3d.data import Donor, free_places, implant, load_datalist
from lungseg3d.io import open_ct, read_labels, read_volume, write_labels, write_volume
from lungseg3d.workflows.evaluate.run import EvaluateOptions, evaluate
from lungseg3d.workflows.segment.cases import SegmentOptions, segment_cases

RESULTS = Path(__file__).parent / "results"
MANIFEST = "nodules_luna"
MOST_IN_A_SCAN = 11
HOSTS = {"lung1-001": "ct/lung1-001/ct.nii.gz", "ricord-000082": "ct/ricord-000082/dicom"}


def make_scans(fold: int, data: Path, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Copies of both CTs with the nodules of a fold, half in each CT: files in `folder`, cases of a manifest."""
    rng = np.random.default_rng((seed, fold))
    entries = load_datalist(MANIFEST, data / MANIFEST, fold=fold, held_out=True)
    entries = [entries[i] for i in rng.permutation(len(entries))]
    cases = []
    copies = len(HOSTS) * -(-len(entries) // (len(HOSTS) * MOST_IN_A_SCAN))
    for number in range(copies):
        host, path = list(HOSTS.items())[number % len(HOSTS)]
        ct = open_ct(data / path).volume
        donors = [Donor(read_volume(e["image"]), read_labels(e["label"])) for e in entries[number::copies]]
        places = free_places(segment_lungs_by_rules(ct), [donor.reach_mm for donor in donors], rng)
        label = np.zeros(ct.shape, np.uint8)
        for donor, place in zip(donors, places, strict=True):
            if place is not None:
                ct, mask = implant(ct, donor, place, Rotation.random(None, rng).as_matrix())
                label[mask] = 1
        name = f"{host}-fold-{fold}-{number // len(HOSTS)}"
        write_volume(folder / f"{name}.nii.gz", ct)
        write_labels(folder / f"{name}-label.nii.gz", Volume(label, ct.affine))
        files = {"image": f"{name}.nii.gz", "label": f"{name}-label.nii.gz"}
        cases.append({"case_id": name, "patient": name, "fold": fold, "files": files})
        print(f"{name}: {sum(place is not None for place in places)} of {len(donors)} nodules placed", flush=True)
    return cases


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="path with {fold} in it; without, the shipped weights, which saw all nodules")
    parser.add_argument("--outlines", help="path with {fold} in it, of the network that outlines")
    parser.add_argument("--bundle", help="path with {fold} in it of a trained bundle, instead of --weights")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--peak", type=float, help="least probability that a nodule must reach; default: the bundle's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="keep scans, results and the evaluation's page here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.out or Path(scratch)
        scans = folder / "scans"
        scans.mkdir(parents=True, exist_ok=True)
        cases, untouched = [], {}
        for fold in asked.folds:
            if asked.bundle:
                bundle = Path(asked.bundle.format(fold=fold))
            else:
                copy = Path(scratch) / f"bundle-{fold}"
                bundle = bundle_of_fold(fold, asked.weights, asked.outlines, copy, peak=asked.peak)
            options = SegmentOptions(nodule_bundle=bundle, overwrite=True)
            found = make_scans(fold, asked.data, scans, asked.seed)
            segment_cases([scans / case["files"]["image"] for case in found], folder / "results", options)
            as_they_were = [asked.data / path for path in HOSTS.values()]
            before = segment_cases(as_they_were, folder / f"untouched-{fold}", options)
            for host, result in zip(HOSTS, before, strict=True):
                untouched[f"{host}-fold-{fold}"] = len(result.findings)
            cases += found
        manifest = {"name": "semi_synthetic", "source": f"{MANIFEST} in CTs of others", "structures": {"1": "nodule"}}
        (scans / "semi_synthetic.json").write_text(json.dumps(manifest | {"cases": cases}), encoding="utf-8")
        done = evaluate(scans / "semi_synthetic.json", folder / "results", folder / "evaluation", EvaluateOptions())
    text = table(done.content, untouched)
    print(text)
    if asked.folds == list(range(5)) and (asked.weights or asked.bundle):
        RESULTS.mkdir(exist_ok=True)
        title = "# Nodules in whole CTs: held-out nodules put into CTs that no training saw\n\n"
        (RESULTS / f"semi_synthetic_{MANIFEST}.md").write_text(title + text, encoding="utf-8")


def table(content: dict[str, Any], untouched: dict[str, int]) -> str:
    """Markdown: what was found, by size and texture, and the FROC."""
    lines = ["| nodules | n | found | 95 % interval | mean Dice |", "|---|---|---|---|---|"]
    strata = content["nodules"]
    for row in ({"name": "all", **strata["all"]}, *strata["by_size"]):
        found = row["detection"]
        if row["nodules"]:
            interval = f"{found['low']:.2f} to {found['high']:.2f}"
            lines.append(
                f"| {row['name']} | {row['nodules']} | {found['mean']:.3f} | {interval} | {row['dice']['mean']:.3f} |"
            )
    curve = content["froc"]
    scans = content["evaluated"]
    lines += ["", "| false positives a scan | sensitivity | 95 % interval |", "|---|---|---|"]
    keys = ("false_positives_a_scan", "sensitivity", "sensitivity_low", "sensitivity_high")
    for rate, share, low, high in zip(*(curve[key] for key in keys), strict=True):
        lines.append(f"| {rate:g} | {share:.3f} | {low:.2f} to {high:.2f} |")
    false = strata["all"]["marks"] - strata["all"]["found"]
    lines.append(
        f"\n{scans} scans; {false / scans:.1f} false ones a scan in all. The same weights mark "
        f"{sum(untouched.values()) / len(untouched):.1f} a scan in the CTs as they were."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
