"""Progress of several members at once, where there is no terminal."""

from __future__ import annotations

from lungseg3d.cli.terminal.console import progress


def test_two_members_at_once_have_one_line_for_each_step(capsys):
    with progress() as on_progress:
        for fraction in (0.0, 0.1, 0.2):
            on_progress("a", "training", fraction)
            on_progress("b", "training", fraction)
        on_progress("a", "measuring", 0.9)
        on_progress("b", "training", 0.9)
    assert capsys.readouterr().err.splitlines() == ["a: training", "b: training", "a: measuring"]
