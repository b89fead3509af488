"""``variolite frameworks``: what is done with frameworks only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from variolite.arguments import Out, keep_inputs
from variolite.progress import ConsoleProgress

PROGRESS = ConsoleProgress()

app = typer.Typer(
    help="Frameworks: CIF files to a table, candidates to structures, simulated uptakes.",
    no_args_is_help=True,
)

_Structures = Annotated[
    list[Path],
    typer.Argument(metavar="CIFS...", help="CIF files, or folders of them."),
]
_Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; as many as there are cores by default.")
]
_Limit = Annotated[
    float, typer.Option(min=1.0, metavar="SECONDS", help="Most time for one structure.")
]
_Pressure = Annotated[
    str, typer.Option(metavar="VALUE", help="With its unit: 1bar, 15kPa, 0.15 bar.")
]
_Temperature = Annotated[float, typer.Option(min=50.0, max=1000.0, help="In K.")]


@app.command()
def describe(
    cifs: _Structures,
    out: Out,
    units: Annotated[
        Path | None,
        typer.Option("--units", metavar="XYZ", help="Where to write building units, for assemble."),
    ] = None,
    workers: _Workers = None,
    limit: _Limit = 60.0,
) -> None:
    """Describe frameworks: metals, linkers, net, building units, cell and pores.

    One row per structure; what cannot be found is empty, and the column problem says why.
    Archives and other formats of structures are read too. An interrupted run resumes.
    """
    from variolite.frameworks.description.describe import describe_files

    keep_inputs("--out", out, *cifs)
    keep_inputs("--units", units, out, *cifs)
    describe_files(cifs, out, units=units, workers=workers, limit=limit, progress=PROGRESS)
    typer.echo(str(out))


@app.command()
def labels(
    isotherms: Annotated[
        Path,
        typer.Argument(
            metavar="ISOTHERMS",
            help="Table with name, pressure and loading; gas, temperature, source if any.",
        ),
    ],
    out: Out,
    gas: Annotated[str, typer.Option(help="Gas, as the table calls it.")] = "CO2",
    pressure: _Pressure = "1bar",
    temperature: _Temperature = 298.0,
    table: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="Described frameworks, to put labels beside."),
    ] = None,
) -> None:
    """Turn isotherms into a label per framework: uptake, its spread, and how many sources.

    Columns are co2_uptake, co2_uptake_sd and co2_uptake_n for CO2. Between two pressures of an
    isotherm its uptake is interpolated; it is never extrapolated.
    """
    from variolite.frameworks.description.isotherms import label_table
    from variolite.frameworks.simulation.simulate import parse_pressure

    keep_inputs("--out", out, isotherms)
    label_table(
        isotherms, out, gas=gas, pressure=parse_pressure(pressure), temperature=temperature,
        table=table, progress=PROGRESS,
    )  # fmt: skip
    typer.echo(str(out))


@app.command()
def assemble(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="CANDIDATES",
            help="Table with columns net, nodes and linker_units; or net and units.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for CIF files and tables.")
    ],
    units: Annotated[
        list[Path] | None,
        typer.Option(
            "--units",
            metavar="XYZ",
            help="Building units beside those of AuToGraFS. May be repeated.",
        ),
    ] = None,
    workers: _Workers = None,
    limit: _Limit = 60.0,
) -> None:
    """Build candidates in three dimensions and check them.

    Writes a CIF file for every candidate that passes all checks, candidates.csv with what came of
    each row, provenance.json, and report.html with all of it as a table and structures to turn. An
    interrupted run resumes.
    """
    from variolite.frameworks.assembly.assemble import assemble_table

    keep_inputs("--out", out, table, units)
    assemble_table(table, out, units=units or (), limit=limit, workers=workers, progress=PROGRESS)
    typer.echo(str(out))


@app.command()
def page(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder that assemble wrote, with simulated*.csv.")
    ],
) -> None:
    """Write report.html of assembled candidates again.

    Uptakes that `simulate DIR --out DIR/simulated.csv` wrote, or several such tables, stand beside
    those that were requested and predicted.
    """
    from variolite.frameworks.report.candidates_page import write_candidates_page

    typer.echo(str(write_candidates_page(folder)))


@app.command()
def simulate(
    cifs: _Structures,
    out: Out,
    only: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Which of them: those in its column name, such as the batch of `variolite plan`.",
        ),
    ] = None,
    gas: Annotated[str, typer.Option(help="CO2 or N2.")] = "CO2",
    pressure: _Pressure = "1bar",
    temperature: _Temperature = 298.0,
    charges: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Partial charges of the atoms: cif, those in the file; eqeq, by charge "
            "equilibration; or none.",
        ),
    ] = "cif",
    tolerance: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Error of the mean, as a share of it, that is enough."),
    ] = 0.05,
    cycles: Annotated[
        int, typer.Option(min=20, help="Most Monte Carlo cycles that are averaged.")
    ] = 5000,
    limit: _Limit = 600.0,
    workers: _Workers = None,
) -> None:
    """Simulate how much of a gas frameworks take up, by grand-canonical Monte Carlo.

    The framework is rigid; its atoms have Lennard-Jones parameters of UFF, the gas those of
    TraPPE. A structure takes half a minute to some minutes. Every row of the table has the error
    of its mean; what was set is written beside it. An interrupted run resumes.
    """
    from variolite.frameworks.simulation.charges import find_charges
    from variolite.frameworks.simulation.force_field import find_gas
    from variolite.frameworks.simulation.gcmc import Settings
    from variolite.frameworks.simulation.simulate import parse_pressure, simulate_table

    keep_inputs("--out", out, cifs, only)
    settings = Settings(
        gas=find_gas(gas).key,
        pressure=parse_pressure(pressure),
        temperature=temperature,
        charges=find_charges(charges),
        cycles=cycles,
        tolerance=tolerance,
        limit=limit,
    )
    simulate_table(cifs, out, settings, only=only, workers=workers, progress=PROGRESS)
    typer.echo(str(out))
