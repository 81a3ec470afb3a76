"""`lungseg3d train`: train the network of a bundle, with overlays and overrides.

In: the command line. Out: what the bundle's training writes; an exit code. Knows no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lungseg3d.cli.terminal.options import TrustBundle, existing_bundle
from lungseg3d.cli.terminal.outcome import reporting_errors

NETWORKS = (
    "attention_unet",
    "dual_attention_unet",
    "dynunet",
    "fusion_unet",
    "light_unet",
    "mednext",
    "s3tu",
    "se_unet",
    "segresnet",
    "swin_hybrid",
    "swin_unetr",
    "unet_plus_plus",
    "vnet",
)
"""Of the shipped bundles, for --help, which opens no folder."""
# MONAI takes what is no Python for text, and the text "false" for true.
_WORDS = {"true": "True", "false": "False", "null": "None"}


@reporting_errors
def train(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", parser=existing_bundle, help="MONAI bundle.")],
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME|FILE.json",
            help=f"Overlay configs/networks/NAME.json, or a file. The shipped bundles have {', '.join(NETWORKS)}.",
        ),
    ] = None,
    training: Annotated[
        str | None, typer.Option("--training", metavar="NAME", help="Overlay configs/training/NAME.json.")
    ] = None,
    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Fold to hold out for validation.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY::PATH=VALUE", help="Change one configuration value.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", file_okay=False, help="Folder for what is written.")
    ] = None,
    trust_bundle: TrustBundle = False,
) -> int:
    """Train BUNDLE: checks it, prints the equal `python -m monai.bundle run ...` line, then trains."""
    settings = dict(key_and_value(text) for text in overrides or [])
    from lungseg3d.workflows.train.run import train as train_bundle

    return train_bundle(
        bundle, network=network, training=training, fold=fold, overrides=settings, out=out, trust=trust_bundle
    )


def key_and_value(text: str) -> tuple[str, str]:
    """`KEY::PATH=VALUE` as key and value, both text; JSON's true, false and null in the words of the configuration."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is not KEY::PATH=VALUE, such as epochs=10", param_hint="--set")
    return key, _WORDS.get(value.strip(), value)
