"""`pin`: write down the SHA-256 of a bundle's weights, after somebody exchanged them.

In: bundle folders. Out: `models/SHA256SUMS` in each.

    python -m lungseg3d.workflows.pin bundles/lung_ct_segmentation bundles/lung_nodule_ct_segmentation

`sha256sum *.pt > SHA256SUMS` in `models` writes the same, and `sha256sum -c SHA256SUMS` checks it. With `--half` the
weights are first stored in half precision, as those that ship are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lungseg3d.core import LungSegError, UsageError
from lungseg3d.io import bundle_folder, pin_weights


def pin(bundles: Sequence[Path | str], half: bool = False) -> dict[Path, dict[str, str]]:
    """Pin the weights of each bundle.

    Args:
        bundles: their root folders.
        half: store the weights in half precision first.

    Returns:
        Bundle -> file name -> SHA-256.

    Raises:
        UsageError: E_NO_BUNDLE for a folder without weights.
        BundleError: E_UNSAFE_CHECKPOINT, E_BAD_CHECKPOINT for weights that cannot be stored in half precision.
        OutputError: E_NO_SPACE, E_WRITE.
    """
    roots = [bundle_folder(bundle) for bundle in bundles]
    for root in roots:
        if not list((root / "models").glob("*.pt")):
            raise UsageError("E_NO_BUNDLE", f"{root} has no weights in models/", "Give the root folder of a bundle.")
    if half:
        from lungseg3d.tensors import store_in_half  # loads PyTorch

        for weights in sorted(path for root in roots for path in (root / "models").glob("*.pt")):
            store_in_half(weights)
    return {root: pin_weights(root) for root in roots}


def main(arguments: Sequence[str]) -> int:
    """Pin, and say what was pinned."""
    if not arguments or arguments[0] in ("-h", "--help"):
        usage = "usage: python -m lungseg3d.workflows.pin [--half] BUNDLE..."
        print(usage, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    half, bundles = "--half" in arguments, [word for word in arguments if word != "--half"]
    try:
        for root, sums in pin(bundles, half).items():
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
