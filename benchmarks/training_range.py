"""What the real CTs were like that the shipped bundles were trained on, kept as `configs/training_range.json` of each.

`segment` warns (W_OOD_*) of CTs outside. A training by `lungseg3d train` writes its own; the record of shipped weights
is measured here on the data sets that they were trained on, as `configs/training_cases.json` lists them. A bundle with
weights of another set, such as the older `nodules_lidc`, keeps the record that it has.

    python benchmarks/training_range.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lungseg3d.data import load_datalist, read_training_record
from lungseg3d.workflows.bundle.training_range import write_training_range

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where the manifests' paths start")
    data = parser.parse_args().data
    for name, manifests, working_mm in (
        ("lung_nodule_ct_segmentation", {"nodules_luna": data / "nodules_luna", "lung_cts": data}, 1.0),
        ("lung_ct_segmentation", {"lung_cts": data}, 3.0),
    ):
        record = read_training_record(BUNDLES / name) or {"datasets": []}
        if (trained_on := {dataset["name"] for dataset in record["datasets"]}) != set(manifests):
            print(f"{name}: left as it is: trained on {sorted(trained_on)}, measured would be {sorted(manifests)}")
            continue
        entries = [entry for manifest, folder in manifests.items() for entry in load_datalist(manifest, folder)]
        print(write_training_range(BUNDLES / name, entries, working_mm).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
