"""Command-line options from the settings of a record."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from flowkernels.experiments.training.settings import setting_of

__all__ = ["with_settings"]

Command = Callable[..., None]


def with_settings(record: type) -> Callable[[Command], Command]:
    """A decorator of commands: `**given` becomes one option for each setting of `record`.

    The command gets the options that the user gave. Defaults are shown in the help and filled in
    by the record.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        options = _options(record)

        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {o.name: values.pop(o.name) for o in options}
            command(**values, **{key: v for key, v in given.items() if v is not None})

        # The command's own keyword options follow the settings.
        front = [p for p in own if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        parameters = [*front, *options, *own[len(front) :]]
        # Typer reads both the signature and the type hints.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _options(record: type) -> list[inspect.Parameter]:
    """A keyword parameter for each setting, with default None."""
    hints = get_type_hints(record)
    parameters = []
    for field in dataclasses.fields(record):
        declared = setting_of(field)
        default = "" if field.default is None else f" [default: {field.default}]"
        kept = " A resumed run keeps it." if declared.kept else ""
        option = typer.Option(
            f"--{field.name.replace('_', '-')}",
            help=declared.help + kept + default,
            rich_help_panel=declared.panel,
        )
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[hints[field.name] | None, option],
            )
        )
    return parameters
