"""Errors for people: a code, the case, what was found, what was expected, the way out.

In: facts. Out: exceptions whose `str` is what the user reads. What a code means stands in `lungseg3d.core.codes`.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from lungseg3d.core.remedies import remedy_text

_MOST_CHARACTERS = 600
_PACKAGE = Path(__file__).resolve().parents[1]
_PATH = re.compile(r"""(?P<quote>['"])[^'"\n]*[/\\][^'"\n]*(?P=quote)|(?<![\w.<])(?:[A-Za-z]:)?[/\\][^\s'":;,()]+""")


class LungSegError(Exception):
    """Everything this project refuses, with one code.

    Args:
        code: `E_...`, stable, for programs.
        message: what was found and what was expected, naming the file or slice.
        remedy: what the user can do about it, as a template of `core.remedies`; may be empty.

    Message and remedy become one line each, whatever a header put into them: see `one_line`.
    """

    def __init__(self, code: str, message: str, remedy: str = "") -> None:
        message, template = one_line(message), one_line(remedy)
        super().__init__(code, message, template)
        self.code, self.message, self.remedy = code, message, remedy_text(template)

    @property
    def remedy_template(self) -> str:
        """The remedy as it was given, for whoever knows better which options exist."""
        return str(self.args[2])

    def __reduce__(self) -> tuple[type[LungSegError], tuple[str, str, str]]:
        # Without the text of the remedy: the process that receives the error words it for its own verb.
        return type(self), self.args

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" + (f"\n{self.remedy}" if self.remedy else "")


class IntakeError(LungSegError):
    """An input that cannot be read rightly, so it is not read at all."""


class GeometryError(LungSegError):
    """Two things that should lie on one grid do not, or a grid is impossible."""


class BundleError(LungSegError):
    """A bundle, its weights or its configuration cannot be used."""


class UsageError(LungSegError):
    """The command line asks for what is not there: an overlay, a key, a fold."""


class OutputError(LungSegError):
    """A result cannot be written, or would overwrite another."""


class TrainingError(LungSegError):
    """A training cannot go on: what it has learned, or the next thing it would learn, is not a number."""


def fault_of(error: BaseException) -> str:
    """An error that nobody foresaw, for a record: its type and where in this project it came from, as for a report.

    Its own words stay out: they may hold a path or a header, and folders are named after patients.
    """
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    if not ours:
        return type(error).__name__
    module = Path(ours[-1].filename).relative_to(_PACKAGE.parent).as_posix()
    return f"{type(error).__name__} in {module}, line {ours[-1].lineno} ({ours[-1].name})"


def unexpected_fault(error: BaseException, subject: str) -> tuple[str, str, str]:
    """Code, message and remedy of an error that nobody foresaw.

    Args:
        error: with its traceback.
        subject: the case or file that it happened to, without a path.
    """
    return "E_UNEXPECTED", f"{subject}: {fault_of(error)}.", "Please report this."


def hide_paths(text: str) -> str:
    """Text of a program's log without paths, quoted or not: folders are named after patients and users."""
    return _PATH.sub("<path>", text)


def one_line(text: str) -> str:
    """Text fit for a terminal and a log: no line ends, at most 600 characters of its two ends."""
    text = re.sub(r"\s*[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+\s*", " ", text)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) <= _MOST_CHARACTERS:
        return text
    tail = _MOST_CHARACTERS // 3
    return f"{text[: _MOST_CHARACTERS - tail - 5]} ... {text[-tail:]}"
