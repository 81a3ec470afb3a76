"""The program `lungseg3d`: its verbs, its version, its exit codes.

In: the command line. Out: an exit code. Each verb is a module of this package and loads its workflow when it runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lungseg3d.cli.terminal.commands import Program
from lungseg3d.cli.terminal.console import allow_any_text
from lungseg3d.cli.terminal.outcome import DEBUG, EXIT_CODES, note_options, with_debug_first
from lungseg3d.cli.terminal.quick_start import OWN_PROCESS
from lungseg3d.cli.verbs.batch import batch
from lungseg3d.cli.verbs.calibrate import calibrate
from lungseg3d.cli.verbs.check import check, convert
from lungseg3d.cli.verbs.compare import compare
from lungseg3d.cli.verbs.demo import demo
from lungseg3d.cli.verbs.doctor import doctor
from lungseg3d.cli.verbs.evaluate import evaluate
from lungseg3d.cli.verbs.explain import explain
from lungseg3d.cli.verbs.export import export
from lungseg3d.cli.verbs.follow_up import follow_up
from lungseg3d.cli.verbs.froc import froc
from lungseg3d.cli.verbs.info import info
from lungseg3d.cli.verbs.prepare import app as prepare_app
from lungseg3d.cli.verbs.replay import replay
from lungseg3d.cli.verbs.segment import segment
from lungseg3d.cli.verbs.train import train

app = Program(
    name="lungseg3d",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)


def _print_version(asked: bool) -> None:
    if asked:
        from lungseg3d import __version__

        typer.echo(f"lungseg3d {__version__}")
        raise typer.Exit


@app.callback()
def program(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and every library's warnings.")] = False,
) -> None:
    """A CT in, lungs and lung nodules out: segmented, measured, checked. Research use only."""
    DEBUG.set(debug)
    note_options(context)


app.command(epilog=EXIT_CODES)(segment)
app.command(epilog=EXIT_CODES)(batch)
app.command(epilog=EXIT_CODES)(explain)
app.command(epilog=EXIT_CODES)(check)
app.command(name="follow-up", epilog=EXIT_CODES)(follow_up)
app.command()(convert)
app.command()(export)
app.command()(demo)
app.command()(doctor)
app.command()(info)
app.add_typer(prepare_app, name="prepare")
app.command(epilog=EXIT_CODES)(train)
app.command(epilog=EXIT_CODES)(compare)
app.command(epilog=EXIT_CODES)(evaluate)
app.command(epilog=EXIT_CODES)(calibrate)
app.command(epilog=EXIT_CODES)(froc)
app.command()(replay)


def main() -> None:
    """Run the program on this process's command line; the entry point of `lungseg3d`."""
    OWN_PROCESS.set(True)
    allow_any_text()
    app(args=with_debug_first(sys.argv[1:]), prog_name="lungseg3d")
