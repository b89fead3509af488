"""The commands of the ``variolite`` program."""

from __future__ import annotations

from functools import partial
from importlib import import_module

import typer

from variolite.cli import recipes, runs
from variolite.fields import field_names
from variolite.planning import commands as planning

app = typer.Typer(
    name="variolite",
    help="Variational autoencoders for scientific data, measured so that the result holds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    runs.demo,
    recipes.schema,
    runs.fit,
    runs.score,
    runs.compare,
    runs.encode,
    runs.cluster,
    runs.impute,
    runs.reconstruct,
    runs.generate,
    runs.doctor,
    runs.report,
):
    app.command()(command)
app.add_typer(recipes.app, name="recipes")
for name in field_names():
    app.add_typer(import_module(f"variolite.{name}.commands").app, name=name)
app.add_typer(planning.app, name="plan")


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
    raw_text: bool = typer.Option(
        False,
        "--raw-text",
        help="Write text into CSV as it is. Without this, cells that a spreadsheet would run "
        "(=, +, -, @ first, and no number) get an apostrophe in front.",
    ),
) -> None:
    if raw_text:
        from variolite.records.files import writing

        token = writing.raw_text.set(True)
        context.call_on_close(partial(writing.raw_text.reset, token))
    if version:
        from variolite import __version__

        typer.echo(f"variolite {__version__}")
        raise typer.Exit
