"""Remedies in the words of whoever reads them: options of the verb that runs, or arguments of a Python call.

In: a template. Out: text that names no option which the reader does not have. Knows no verb and no option.

A reader module does not know which verb called it, and not every verb has every option. So a part of a remedy that
names options stands in square brackets, and is left out where one of its options does not exist; a bar separates what
stands there instead: `Export it again[, or pass --allow-gaps to interpolate].`,
`[Pass --volume-index=N to choose one.|Give one 3D volume.]`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator

# An environment variable and not a context variable: threads and child processes (workers, trainings) write the same
# words as the verb that started them.
_VARIABLE = "LUNGSEG3D_OPTIONS"
_CONDITIONAL = re.compile(r"\[([^\[\]|]*--[a-z][^\[\]|]*)(?:\|([^\[\]]*))?\]")
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)(?:=(\S+?))?(?=[.,;:)]*(?:\s|$))")
_keeps_templates = False


@contextlib.contextmanager
def offering(options: Iterable[str]) -> Iterator[None]:
    """State which options the verb that runs inside the block has, such as `--allow-gaps`."""
    before = os.environ.get(_VARIABLE)
    offer(options)
    try:
        yield
    finally:
        offer(None if before is None else before.split())


def offer(options: Iterable[str] | None) -> None:
    """State it for this process and its children for good; None: there is no verb, remedies name Python arguments."""
    if options is None:
        os.environ.pop(_VARIABLE, None)
    else:
        os.environ[_VARIABLE] = " ".join(sorted(options))


def offered_options() -> frozenset[str] | None:
    """The options of the verb that runs; None where Python code calls the library."""
    text = os.environ.get(_VARIABLE)
    return None if text is None else frozenset(text.split())


def keep_templates() -> None:
    """Leave templates as they are in this process, because another one writes the text (see `io.decoder_process`)."""
    global _keeps_templates  # noqa: PLW0603 - of the process, which only ever leaves them
    _keeps_templates = True


def remedy_text(template: str, options: Iterable[str] | None = None) -> str:
    """The text of a template; a text without conditional parts is returned as it is, so that rendering twice is safe.

    Args:
        template: see the module.
        options: those that exist, instead of the ones stated by `offering`; empty drops every conditional part.
    """
    if options is None and _keeps_templates:
        return template
    known = offered_options() if options is None else frozenset(options)

    def part(found: re.Match[str]) -> str:
        named = _OPTION.findall(found[1])
        if known is None:
            return _OPTION.sub(_argument, found[1])
        if all(f"--{name}" in known for name, _ in named):
            return _OPTION.sub(lambda o: f"--{o[1]} {o[2]}" if o[2] else f"--{o[1]}", found[1])
        return found[2] or ""

    return _CONDITIONAL.sub(part, template)


def _argument(option: re.Match[str]) -> str:
    """`--assume-axes=RAS` as `assume_axes="RAS"`, `--volume-index=N` as `volume_index=N`, `--strict` as a true one."""
    name, value = option[1].replace("-", "_"), option[2]
    if not value:
        return f"{name}=True"
    return f"{name}={value}" if value == "N" or value.replace(".", "", 1).isdigit() else f'{name}="{value}"'
