"""``variolite schema``, ``doctor`` and ``report``: looking, not changing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from variolite.cli.crystal_runs import doctor_crystals, own_copy
from variolite.cli.options import Mapping, Run, keep_inputs, parse_mapping

if TYPE_CHECKING:
    from variolite.training import RunFolder

__all__ = ["doctor", "report", "schema"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program to read.")]


def schema(
    file: Annotated[Path, typer.Argument(help="Table: CSV, Parquet, Feather or LAS 2.0.")],
    out: Annotated[Path | None, typer.Option("--out", help="YAML file to save it to.")] = None,
) -> None:
    """Propose a schema for a table: kinds, roles, units, transforms, and why.

    The proposal is a recipe's `columns`; save it, edit it and extend a recipe with it.
    """
    from variolite.records import propose_schema, read_table, units_of, write_text_atomic

    keep_inputs("--out", out, file)
    proposal = propose_schema(read_table(file), units=units_of(file))
    typer.echo(str(proposal))
    if out is not None:
        write_text_atomic(out, proposal.schema.to_yaml())
        typer.echo(str(out))


def doctor(
    run: Run,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Table; none uses the health of the last score. Or structures, at least 20.",
        ),
    ] = None,
    mapping: Mapping = None,
    as_json: Json = False,
) -> None:
    """Say how healthy the latent space is, and what to change."""
    import json

    from variolite.errors import RunFolderError
    from variolite.scoring.session import latent_health_of
    from variolite.training import RunFolder

    folder = RunFolder(run)
    if folder.of_crystals:
        doctor_crystals(run, data, as_json=as_json)
        return
    model = folder.model()
    if data is not None:
        bound = parse_mapping(mapping, model.schema.schema.columns)
        records = model.records(data, bound)
        health = latent_health_of(model, records)
    elif folder.health_file.is_file():
        health = _stored_health(folder)
    else:
        raise RunFolderError(
            "the run has not been scored yet",
            where=str(run),
            mend="give a table with --data, or run `variolite score` first",
        )
    if as_json:
        typer.echo(json.dumps(health, indent=1))
        return
    typer.echo(
        f"{health['active_units']} of {health['latent']} latent dimensions active, "
        f"{health['total_kl']:.2f} nats in all"
    )
    for entry in health["dimensions"]:
        known = {name: r for name, r in entry["correlation"].items() if r is not None}
        state = "active" if entry["active"] else "idle"
        link = ""
        if entry["active"] and known:
            strongest = max(known, key=lambda name: abs(known[name]))
            link = f"r = {known[strongest]:+.2f} with {strongest}"
        typer.echo(f"  z{entry['index']:<3} {entry['kl']:6.3f} nats  {state:<6}  {link}".rstrip())
    for finding in health["findings"]:
        sentences = (finding["text"], finding.get("advice") or "")
        said = " ".join(f"{text.rstrip('.')}." for text in sentences if text)
        typer.echo(f"{finding['level']}: {said}")


def _stored_health(folder: RunFolder) -> dict[str, Any]:
    from pydantic import ValidationError

    from variolite.errors import RunFolderError
    from variolite.report.contents import Health

    content = folder.read_json(folder.health_file)
    try:
        Health.model_validate(content)
    except ValidationError:
        raise RunFolderError(
            "this file of the run is damaged",
            where=str(folder.health_file),
            mend="run `variolite score` again; it writes the file anew",
        ) from None
    return dict(content)


def report(run: Run) -> None:
    """Write the run's report: one HTML file that needs nothing else."""
    from variolite.report import write_report

    typer.echo(str(write_report(own_copy(run))))
