"""`pin`: write down the SHA-256 of a bundle's weights, after somebody exchanged them.

In: bundle folders. Out: `models/SHA256SUMS` in each.

    python -m lungseg3d.workflows.pin bundles/lung_ct_segmentation bundles/lung_nodule_ct_segmentation

`sha256sum *.pt > SHA256SUMS` in `models` writes the same, and `sha256sum -c SHA256SUMS` checks it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lungseg3d.core import LungSegError, UsageError
from lungseg3d.io import bundle_folder, pin_weights


def pin(bundles: Sequence[Path | str]) -> dict[Path, dict[str, str]]:
    """Pin the weights of each bundle.

    Returns:
        Bundle -> file name -> SHA-256.

    Raises:
        UsageError: E_NO_BUNDLE for a folder without weights.
        OutputError: E_NO_SPACE, E_WRITE.
    """
    roots = [bundle_folder(bundle) for bundle in bundles]
    for root in roots:
        if not list((root / "models").glob("*.pt")):
            raise UsageError("E_NO_BUNDLE", f"{root} has no weights in models/", "Give the root folder of a bundle.")
    return {root: pin_weights(root) for root in roots}


def main(arguments: Sequence[str]) -> int:
    """Pin, and say what was pinned."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m lungseg3d.workflows.pin BUNDLE...", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    try:
        for root, sums in pin(arguments).items():
            for name, value in sums.items():
                encoding = sys.stdout.encoding or "utf-8"  # of a terminal that may not have UTF-8
                path = str(root / "models" / name).encode(encoding, "backslashreplace").decode(encoding)
                print(f"{path}: {value}")
    except LungSegError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
