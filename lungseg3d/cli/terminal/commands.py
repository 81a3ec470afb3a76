"""Commands of the program with every version of typer: flags without a type, errors without a library's words.

In: what typer makes of a verb. Out: the same, for people. Knows no verb.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

_PYDANTIC = "Value error, "
_Verb = TypeVar("_Verb", bound=Callable[..., Any])


class _ForPeople:
    def get_params(self, ctx: Any) -> list[Any]:
        """As typer's, with nothing after the name of a flag."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for param in params:
            if getattr(param, "is_bool_flag", False) and param.metavar is None:
                param.metavar = ""
        return params

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer's, without the name of the library that found a value wrong."""
        try:
            rest: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
            return rest
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(_PYDANTIC)
            raise


class Command(_ForPeople, TyperCommand):
    """One verb."""


class Group(_ForPeople, TyperGroup):
    """Several verbs under one name."""


class Program(typer.Typer):
    """A `typer.Typer` whose verbs are `Command`s."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=Group, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[_Verb], _Verb]:
        """As typer's."""
        return super().command(name, cls=Command, **settings)
