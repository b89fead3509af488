"""``variolite recipes``: listing, showing and importing; ``variolite schema`` proposes one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variolite.arguments import Json, Null, Rows, WithDefault, keep_inputs, one_or_many

app = typer.Typer(
    cls=WithDefault,
    help="List the recipes, show one by its name, or import one of chemeleon2.",
    rich_markup_mode=None,
)


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="Recipe to show; none lists all.")] = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or show one with everything it extends resolved.

    The word `show` may be left out.
    """
    import json

    from variolite.recipe import BaseRecipe, load_recipe, packaged_recipes, recipe_to_yaml

    if name is not None:
        recipe = load_recipe(name, kind=BaseRecipe)
        text = recipe.model_dump_json(indent=1) if as_json else recipe_to_yaml(recipe).rstrip()
        typer.echo(text)
        return
    found = packaged_recipes()
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    width = max(len(key) for key in found)
    for key, title in found.items():
        typer.echo(f"{key:<{width}}  {title}")


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Plain YAML of chemeleon2; later files lie over earlier ones."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Recipe to write, .yaml.")],
    as_json: Json = False,
) -> None:
    """Make a recipe of a crystal VAE's configuration in the style of chemeleon2.

    The files are read as data: nothing in them is imported or run. Every setting without a
    counterpart is listed with the reason.
    """
    import json

    from variolite.errors import RecipeError
    from variolite.fields import all_fields
    from variolite.records import write_text_atomic

    if out.suffix not in (".yaml", ".yml"):
        raise RecipeError("a recipe is a .yaml file", where=f"--out {out}")
    keep_inputs("--out", out, *files)
    field = next(field for field in all_fields() if hasattr(field, "import_recipe"))
    found = field.import_recipe(files, out.stem)
    text = found.to_yaml()
    write_text_atomic(out, text)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1, default=str))
        return
    typer.echo("\n".join([*found.lines(), str(out)]))


_MOST_BYTES = 64 << 20  # Of each file of delimited text, from which a schema is proposed.


def schema(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Tables: CSV, Excel, Parquet, Feather, LAS or DLIS; files, folders or patterns.",
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="YAML file to save it to.")] = None,
    extends: Annotated[
        str | None,
        typer.Option(
            "--extends",
            metavar="RECIPE",
            help="Propose a recipe on this one that trains at once, such as corelogs/default.",
        ),
    ] = None,
    rows: Rows = None,
    null: Null = None,
) -> None:
    """Propose a schema for a table: kinds, roles, units, transforms, and why.

    The proposal is a recipe's `columns`; save it, edit it and extend a recipe with it. Of a CSV
    file of more than 64 MiB only the first rows are read.
    """
    from variolite.records import load_table, propose_schema, rows_where, write_text_atomic

    keep_inputs("--out", out, files)
    table = load_table(one_or_many(files), nulls=null or (), most_bytes=_MOST_BYTES)
    frame = table.frame.filter(rows_where(rows, table.frame)) if rows else table.frame
    proposal = propose_schema(frame, units=table.units)
    typer.echo(str(proposal))
    text = proposal.schema.to_yaml()
    if extends is not None:
        import yaml

        from variolite.recipe import load_recipe
        from variolite.records.propose import propose_columns

        columns = propose_columns(proposal, load_recipe(extends).table, frame.columns)
        content = {"extends": extends, "rows": rows, "nulls": null, "columns": columns}
        content = {key: value for key, value in content.items() if value}
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        typer.echo(f"\n{text}")
    if out is not None:
        write_text_atomic(out, text)
        typer.echo(str(out))
