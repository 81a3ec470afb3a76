"""What the real CTs were like that the shipped bundles were trained on, kept as `configs/training_range.json` of each.

`segment` warns (W_OOD_*) of CTs outside. A training by `lungseg3d train` writes its own; the shipped weights are older
than that record, so it is measured here on the manifests that their model cards list.

    python benchmarks/training_range.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lungseg3d.data import load_datalist
from lungseg3d.workflows.training_range import write_training_range

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where the manifests' paths start")
    data = parser.parse_args().data
    hosts = load_datalist("lung_cts", data)
    nodules = load_datalist("nodules_lidc", data / "nodules_lidc")
    for name, entries, working_mm in (
        ("lung_nodule_ct_segmentation", [*nodules, *hosts], 1.0),
        ("lung_ct_segmentation", hosts, 3.0),
    ):
        print(write_training_range(BUNDLES / name, entries, working_mm).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
