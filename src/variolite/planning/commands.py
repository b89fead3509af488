"""``variolite plan``: which candidates to measure next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from variolite.arguments import Json, Out, WithDefault, keep_inputs, one_or_many
from variolite.errors import DataError
from variolite.planning.rules import Rules, Settings, Synthesis
from variolite.progress import ConsoleProgress

PROGRESS = ConsoleProgress()

app = typer.Typer(
    cls=WithDefault,
    help="Plan what to measure next, under a budget. `variolite plan --pool ...` is `plan batch`.",
    rich_markup_mode=None,
)

_Texts = list[str] | None


def _option(flag: str, metavar: str, text: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=text)


_AGAIN = "May be repeated."
_Pool = Annotated[list[Path], _option("--pool", "FILE", f"Table of candidates. {_AGAIN}")]
_Target = Annotated[
    list[str],
    _option(
        "--target",
        "COLUMN[=min]",
        "What to make as large as possible, or as small. Twice for two at once.",
    ),
]
_COST = "Money that a candidate costs, with columns COLUMN_low and COLUMN_high if known. Several "
_Cost = Annotated[_Texts, _option("--cost", "COLUMN", f"{_COST}are added up. {_AGAIN}")]
_CHEAP = (
    "A cheap measurement that says something of the target, in any unit: ordered where it pays."
)
_Cheap = Annotated[str | None, _option("--cheap", "COLUMN", _CHEAP)]
_CheapCost = Annotated[_Texts, _option("--cheap-cost", "COLUMN", f"What that costs. {_AGAIN}")]
_Budget = Annotated[float, _option("--budget", "MONEY", "For all rounds, in the unit of costs.")]
_Batch = Annotated[int, typer.Option("--batch", min=1, help="Most candidates of one round.")]
_Name = Annotated[str | None, _option("--name", "COLUMN", "Column of names or ids.")]
_Group = Annotated[
    str | None, _option("--group", "COLUMN", "Families: intervals are checked on whole ones.")
]
_FEATURE = "Column that describes candidates; all other columns by default."
_Feature = Annotated[_Texts, _option("--feature", "COLUMN", f"{_FEATURE} {_AGAIN}")]
_Ignore = Annotated[
    _Texts, _option("--ignore", "COLUMN", f"Column that is not a feature. {_AGAIN}")
]
_Latents = Annotated[
    Path | None,
    _option("--latents", "RUN", "Run whose latents are used as features, too."),
]
_Fixed = Annotated[
    float, typer.Option("--fixed-cost", min=0.0, metavar="MONEY", help="Of every round.")
]
_AT_MOST = "Most of a batch that share a value: metals=3."
_AtMost = Annotated[_Texts, _option("--at-most", "COLUMN=N", f"{_AT_MOST} {_AGAIN}")]
_Seed = Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn.")]


@app.command()
def batch(
    pool: _Pool,
    target: _Target,
    budget: _Budget,
    cost: _Cost = None,
    results: Annotated[
        list[Path] | None,
        _option(
            "--results",
            "FILE",
            "Table of values by name, for targets that are empty in the pool: COLUMN, or "
            f"COLUMN_simulated as `frameworks simulate` writes it. {_AGAIN}",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        _option(
            "--out",
            "FILE",
            "Where to write the batch. Its campaign and a page are written beside it.",
        ),
    ] = None,
    size: _Batch = Rules.batch,
    batch_budget: Annotated[
        float | None,
        typer.Option("--batch-budget", min=0.01, metavar="MONEY", help="Most money of one round."),
    ] = None,
    fixed_cost: _Fixed = Rules.fixed_cost,
    worth: Annotated[
        float | None,
        _option(
            "--worth", "MONEY", "Of one unit of the first target: then it is said when to stop."
        ),
    ] = None,
    name: _Name = None,
    group: _Group = None,
    feature: _Feature = None,
    ignore: _Ignore = None,
    latents: _Latents = None,
    at_most: _AtMost = None,
    share: Annotated[
        _Texts,
        _option(
            "--share",
            "COLUMN=VALUE:LOW-HIGH",
            f"Share of a batch with a value: origin=generated:0.7-0.85. {_AGAIN}",
        ),
    ] = None,
    control: Annotated[
        _Texts, _option("--control", "NAME", f"Is in the next batch. {_AGAIN}")
    ] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="How candidates are scored.")
    ] = Rules.strategy,
    cheap: _Cheap = None,
    cheap_cost: _CheapCost = None,
    seed: _Seed = Rules.seed,
    as_json: Json = False,
) -> None:
    """Propose the next batch to measure: candidates, costs, what is expected, and why.

    Enter results in the pool's target column, or the cheap one, or by --results, and give the same
    command again: it continues from what came back, and never exceeds the budget.
    """
    from variolite.planning.campaign import Campaign, kept_beside, require_own
    from variolite.planning.page import campaign_page
    from variolite.planning.results import with_results
    from variolite.records import require_writable, write_table, write_text_atomic

    if out is not None:
        keep_inputs("--out", out, pool, results)
        require_writable(out)
    rules = Rules(
        batch=size,
        batch_budget=batch_budget,
        fixed_cost=fixed_cost,
        at_most=_counts(at_most or []),
        controls=tuple(control or ()),
        shares=_shares(share or []),
        strategy=strategy,
        seed=seed,
    )
    columns = _columns(
        target,
        worth,
        costs=cost,
        name=name,
        group=group,
        features=feature,
        ignore=ignore,
        run=latents,
        cheap=cheap,
        cheap_costs=cheap_cost,
    )
    campaign = Campaign(columns, budget, rules)
    source = one_or_many(pool)
    if results:
        source = with_results(source, one_or_many(results), columns)
    with kept_beside(out) as kept:
        if kept is not None and kept.exists():
            campaign.restore(kept)
        found = campaign.propose(source, progress=PROGRESS)
        for note in found.notes:
            PROGRESS.note(note)
        if out is not None and kept is not None:
            require_own(out, found.table)
            # The campaign first: what is ordered is never unknown to it.
            campaign.save(kept)
            write_table(found.table, out)
            page = out.with_suffix(".html")
            write_text_atomic(page, campaign_page(campaign, found, out.stem))
    if as_json:
        typer.echo(json.dumps(found.to_dict() | campaign.money(), indent=1))
        return
    typer.echo(found.text())
    typer.echo(campaign.statement())
    if out is not None:
        typer.echo(str(out))


@app.command()
def backtest(
    pool: _Pool,
    target: _Target,
    budget: _Budget,
    cost: _Cost = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=2, help="Campaigns of each strategy.")
    ] = Settings.seeds,
    start: Annotated[
        int, typer.Option("--start", min=5, help="Rows known at the start.")
    ] = Settings.start,
    batch: _Batch = Rules.batch,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Most rounds; until the money is spent.")
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", help="Beside random, greedy and ours. May be repeated."),
    ] = None,
    fixed_cost: _Fixed = Rules.fixed_cost,
    name: _Name = None,
    group: _Group = None,
    feature: _Feature = None,
    ignore: _Ignore = None,
    latents: _Latents = None,
    at_most: _AtMost = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="HTML", help="Page with curves and tables.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are cores by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay campaigns on a pool whose values are all known, to compare strategies.

    Reports, over seeds, the share of the best 5 % that was found, the best value, the money
    spent, and whether intervals cover what they claim.
    """
    from variolite.planning import backtest as replays
    from variolite.planning.page import backtest_page, backtest_text
    from variolite.planning.pool import read_pool
    from variolite.records import require_writable, write_text_atomic

    if out is not None:
        keep_inputs("--out", out, pool)
        require_writable(out, also=[".html"])
    columns = _columns(
        target,
        None,
        costs=cost,
        name=name,
        group=group,
        features=feature,
        ignore=ignore,
        run=latents,
    )
    read = read_pool(one_or_many(pool), columns)
    for note in read.notes:
        PROGRESS.note(note)
    rules = Rules(batch=batch, fixed_cost=fixed_cost, at_most=_counts(at_most or []))
    settings = Settings(budget=budget, start=start, rounds=rounds, seeds=seeds, rules=rules)
    found = replays.backtest(read, settings, strategy or (), workers=workers, progress=PROGRESS)
    if out is not None:
        write_text_atomic(out, backtest_page(found, read, settings))
    summary = replays.summary(found)
    typer.echo(json.dumps(summary, indent=1) if as_json else backtest_text(summary))


@app.command()
def costs(
    pool: _Pool,
    out: Out,
    prices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table of reagents: supplies (metal or SMILES), price per gram, molar_mass, "
            "source, date; price_low, price_high, moles if known.",
        ),
    ] = None,
    grams: Annotated[float, typer.Option(min=1e-6, help="Of product.")] = Synthesis.amount,
    yield_: Annotated[
        float, typer.Option("--yield", min=0.01, max=1.0, help="Of the synthesis, 0 to 1.")
    ] = Synthesis.yielded,
    solvent: Annotated[
        float, typer.Option(min=0.0, help="Millilitres for a gram of product.")
    ] = Synthesis.solvent_volume,
    solvent_price: Annotated[
        float, typer.Option(min=0.0, help="Of a millilitre.")
    ] = Synthesis.solvent_price,
    minutes: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Minutes of instrument or computer; gaps are learnt from --size."
        ),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.0, help="Money for a minute.")] = 1.0,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="What run times grow with: atoms, volume."),
    ] = None,
) -> None:
    """Work out what candidates cost: reagents for their synthesis, time for their validation.

    Adds the columns synthesis_cost and validation_cost with their ends, for --cost.
    """
    import polars as pl

    from variolite.planning import costs as costing
    from variolite.records import load_table, require_writable, write_table

    keep_inputs("--out", out, pool, prices)
    require_writable(out)
    if prices is None and minutes is None:
        raise DataError("nothing to work out", hint="Give --prices, --minutes or both")
    frame = load_table(one_or_many(pool), wells=False).frame
    parts = [frame]
    if prices is not None:
        table = costing.read_prices(prices)
        how = Synthesis(grams, yield_, solvent, solvent_price)
        made = costing.synthesis_costs(frame, table, how)
        for note in table.notes:
            PROGRESS.note(note)
        unknown = made["synthesis_cost"].null_count()
        if unknown:
            PROGRESS.note(f"{unknown:,} candidates have no synthesis cost; synthesis_notes say why")
        parts.append(made)
    if minutes is not None:
        parts.append(costing.validation_costs(frame, minutes, size or (), rate))
    old = [name for part in parts[1:] for name in part.columns if name in frame.columns]
    if old:
        PROGRESS.note(f"columns {', '.join(old)} are replaced")
    parts[0] = frame.drop(old)
    write_table(pl.concat(parts, how="horizontal"), out)
    typer.echo(str(out))


def _columns(targets: list[str], worth: float | None, **others: Any) -> Any:
    """Say what columns mean; of ``others`` those that are not given have their defaults."""
    from variolite.planning.pool import Columns, Target

    found = []
    for place, text in enumerate(targets):
        column, _, way = text.rpartition("=") if "=" in text else (text, "", "")
        if way not in ("", "min", "max"):
            hint = "Write COLUMN, COLUMN=min or COLUMN=max"
            raise DataError(f"{way!r} is no direction", where=f"--target {text}", hint=hint)
        found.append(Target(column, way == "min", worth if place == 0 else None))
    if len(found) > 2:
        raise DataError(f"{len(found)} targets", where="--target", hint="Give one or two")
    known = {key: value for key, value in others.items() if value is not None}
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    return Columns(tuple(found), **given)


def _counts(texts: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        column, _, number = text.rpartition("=")
        if not column or not number.isdecimal() or number == "0":
            raise DataError("is no limit", where=f"--at-most {text}", hint="Write metals=3")
        if column in found:
            what = f"{column} has a limit of {found[column]} already"
            raise DataError(what, where=f"--at-most {text}", hint="Give one")
        found[column] = int(number)
    return found


def _shares(texts: list[str]) -> dict[tuple[str, str], tuple[float, float]]:
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for text in texts:
        about, _, ends = text.rpartition(":")
        column, _, value = about.partition("=")
        try:
            low, high = (float(end) for end in ends.split("-"))
        except ValueError:
            low, high = 1.0, 0.0
        if not (column and value and 0.0 <= low <= high <= 1.0):
            hint = "Write origin=generated:0.7-0.85"
            raise DataError("is no share", where=f"--share {text}", hint=hint)
        if (column, value) in found:
            what = f"{column} {value} has a share already"
            raise DataError(what, where=f"--share {text}", hint="Give one")
        found[column, value] = (low, high)
    return found
