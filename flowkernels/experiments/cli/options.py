"""Command-line options from the settings of a record."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, get_type_hints

import typer

from flowkernels.experiments.training.settings import setting_of

__all__ = ["with_settings"]

Command = Callable[..., None]


def with_settings(*records: type) -> Callable[[Command], Command]:
    """A decorator of commands: `**given` becomes one option for each setting of the `records`.

    A setting that several records have is one option, with the help of the first. The command gets
    the options that the user gave. Defaults are shown in the help and filled in by the record.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in inspect.signature(command).parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        options = _options(records)

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


def _options(records: Sequence[type]) -> list[inspect.Parameter]:
    """A keyword parameter for each setting, with default None."""
    parameters = []
    for name, fields in _by_name(records).items():
        record, field = fields[0]
        declared = setting_of(field)
        kept = " A resumed run keeps it." if declared.kept else ""
        option = typer.Option(
            f"--{name.replace('_', '-')}",
            help=declared.help + kept + _shown_defaults([field.default for _, field in fields]),
            rich_help_panel=declared.panel,
        )
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[get_type_hints(record)[name] | None, option],
            )
        )
    return parameters


def _by_name(records: Sequence[type]) -> dict[str, list[tuple[type, dataclasses.Field[Any]]]]:
    """The settings by name, each as the records that have it declare it; in order of the panels."""
    found: dict[str, list[tuple[type, dataclasses.Field[Any]]]] = {}
    for record in records:
        for field in dataclasses.fields(record):
            found.setdefault(field.name, []).append((record, field))
    panels = list(dict.fromkeys(setting_of(entry[0][1]).panel for entry in found.values()))
    return dict(
        sorted(found.items(), key=lambda entry: panels.index(setting_of(entry[1][0][1]).panel))
    )


def _shown_defaults(values: Sequence[Any]) -> str:
    """The defaults of an option in its help; of several records if they differ."""
    shown = list(dict.fromkeys(str(value) for value in values if value not in (None, "")))
    return f" [default: {', of a table '.join(shown)}]" if shown else ""
