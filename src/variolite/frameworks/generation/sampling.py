"""New frameworks from a run: what was asked for, what is drawn, what a surrogate says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from variolite.arguments import parse_conditions
from variolite.errors import DataError, ShortfallError, nearest
from variolite.frameworks.columns import SEPARATOR
from variolite.frameworks.diagnosis import Layout
from variolite.frameworks.framework_table import SHAPE, with_cells
from variolite.frameworks.generation.framework_model import FrameworkModel
from variolite.linkers import as_known
from variolite.progress import Progress, Step
from variolite.records import require_writable, write_table
from variolite.records.fitted import members_of
from variolite.training.row_sampling import SamplingOptions

if TYPE_CHECKING:
    from variolite.training import RunFolder

ROUND = 2_000  # rows drawn at once
POOL = 100_000  # rows drawn, where rare ones are to be kept: fewer do not show which are rare
POWERS = (1.0, 0.5)
"""Of one over how often the combination of a row, and its rarest member, are drawn."""
_TRIES = 20  # rows drawn for each one wanted, where what is wanted is rare


@dataclass(frozen=True)
class Request:
    """What is wanted: ``values`` of numeric conditions, ``members`` that sets must hold."""

    values: Mapping[str, float]
    members: Mapping[str, tuple[str, ...]]

    @classmethod
    def parse(cls, where: Sequence[str], model: FrameworkModel) -> Request:
        """Read ``name=value`` each: a condition of the run, or a set or category that it makes.

        Raises `DataError` for what the run does not know.
        """
        values: dict[str, float] = {}
        members: dict[str, tuple[str, ...]] = {}
        schema = model.schema
        known = [*model.condition_names, *schema.set_names, *schema.category_names]
        for name, text in parse_conditions(where).items():
            place = f"--where {name}={text}"
            if name not in known:
                raise _unknown(f"the run knows no {name!r} to ask for", name, known, place)
            if name in model.condition_names:
                with suppress(ValueError):
                    values[name] = float(text)
                if not np.isfinite(values.get(name, np.nan)):
                    hint = "For example co2_uptake=6"
                    raise DataError(f"{text!r} is not a number", where=place, hint=hint)
                continue
            column = schema.schema.columns[name]
            of_set = column.kind == "set"
            members[name] = tuple(members_of(text, column.separator)) if of_set else (text,)
            if not members[name]:
                raise DataError("this names no member", where=place, hint=f"Give {name}=FIRST")
            if name == "linkers":
                members[name] = tuple(as_known(members[name], schema.levels[name]).values())
            for member in members[name]:
                if member not in schema.levels[name]:
                    what = f"the run has never met {member!r} among its {name}, and cannot make it"
                    raise _unknown(what, member, schema.levels[name], place)
        return cls(values, members)

    def met(self, model: FrameworkModel) -> pl.Expr:
        """Whether a row holds the members that are wanted."""
        met = pl.lit(value=True)
        for name, wanted in self.members.items():
            column = model.schema.schema.columns[name]
            held = pl.col(name)
            if column.kind == "set":
                held = held.str.split(column.separator)
            for member in wanted:
                met &= held.list.contains(member) if column.kind == "set" else held == member
        return met


def _unknown(what: str, name: str, known: Sequence[str], place: str) -> DataError:
    close = nearest(name, known)
    hint = f"Did you mean {close!r}? " if close else ""
    hint += f"It knows {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
    return DataError(what, where=place, hint=hint)


def outside(model: FrameworkModel, request: Request) -> list[str]:
    """Say of every value asked for whether it lies beyond the training rows, and how far."""
    lines = []
    for name, value in request.values.items():
        chain = model.schema.numeric[name]
        usual = chain.usual or chain.clip
        if usual is None or usual[0] <= value <= usual[1]:
            continue
        bound = usual[0] if value < usual[0] else usual[1]
        unit = model.schema.schema.columns[name].unit
        far = abs(value - bound) / (usual[1] - usual[0])
        taken = "" if chain.clip is None else f", taken as {np.clip(value, *chain.clip):.3g}"
        lines.append(
            f"{name} {value:g} is outside the training rows, {usual[0]:.3g} to {usual[1]:.3g}"
            f"{f' {unit}' if unit else ''}: {far:.3g} times their range beyond{taken}"
        )
    return lines


def draw(
    model: FrameworkModel, number: int, request: Request, options: SamplingOptions, seed: int
) -> pl.DataFrame:
    """Draw ``number`` rows, whatever members they have, in the columns that the model makes."""
    if options.balance:
        plain = replace(options, balance=0.0)
        seeds = np.random.SeedSequence(seed).generate_state(-(-max(POOL, 10 * number) // ROUND))
        pool = [draw(model, ROUND, request, plain, int(own)) for own in seeds]
        return balanced(pl.concat(pool), number, options.balance, seed)
    random = np.random.default_rng([seed, 1])
    names = model.condition_names
    given = {
        names.index(name): float(model.schema.numeric[name].evaluate(np.array([value]))[0][0])
        for name, value in request.values.items()
    }
    prior = model.priors[0] if model.priors else None
    if prior is not None:
        latents, conditions = prior.sample(number, given, random)
    else:
        latents = random.standard_normal((number, model.members[0].latent))
        # Without a fitted prior a condition that is not asked for is drawn as it is scaled.
        conditions = random.standard_normal((number, len(names)))
        conditions[:, list(given)] = list(given.values())
    # Conditions that are categories come behind the numbers; zeros are none of their levels.
    whole = np.zeros((number, model.module.architecture.condition))
    whole[:, : len(names)] = conditions
    columns = model.sample(number, seed=seed, latents=latents, conditions=whole, options=options)
    for i, name in enumerate(names):
        # What the prior draws beside the latents belongs to the row; what was asked for does not.
        if prior is not None and name not in request.values:
            columns[name] = model.schema.numeric[name].inverse(conditions[:, i])
    return pl.DataFrame(columns)


def balanced(rows: pl.DataFrame, number: int, balance: float, seed: int) -> pl.DataFrame:
    """Choose ``number`` rows whose combination, and its rarest member, are seldom drawn.

    Importance resampling (D. Rubin, 1987), without replacement, by one over how often each is
    drawn to the powers `POWERS`. Rows stay as they were drawn: metals, linkers and pores go
    together as much as the model has them.
    """
    kinds = [n for n in Layout.among(rows.columns).combination if n in rows.columns]
    often = rows.select(pl.len().over(kinds)).to_series()
    # By combinations alone a fifth of the rows are new ones of frequent members.
    members = [
        rows.select(pl.col(kind).str.split(SEPARATOR).alias("member"))
        .with_row_index("row")
        .explode("member")
        .select("row", often=pl.len().over("member"))
        for kind in kinds
    ]
    rarest = pl.concat(members).group_by("row").agg(pl.min("often")).sort("row")["often"]
    far = sum(power * np.log(count) for power, count in zip(POWERS, (often, rarest), strict=True))
    # The largest of log weights with Gumbel noise are such a sample, in random order.
    noise = np.random.default_rng([seed, 5]).gumbel(size=rows.height)
    return rows[np.argsort(balance * far - noise)[:number]]


def generate(
    model: FrameworkModel,
    number: int,
    request: Request,
    *,
    options: SamplingOptions,
    seed: int = 0,
    most: int | None = None,
    step: Step | None = None,
) -> tuple[pl.DataFrame, int]:
    """Draw rows until ``number`` meet the request, at most ``most``; how many were drawn too.

    What comes back has cells, what was requested, and what the surrogates predict.
    """
    most = most or _TRIES * number + 1_000
    found: list[pl.DataFrame] = []
    drawn = accepted = 0
    # Rounds of one size, each with a seed of its own: the first rows do not depend on how many
    # are wanted.
    seeds = np.random.SeedSequence(seed).generate_state(most // ROUND + 1)
    for own in seeds:
        rows = draw(model, ROUND, request, options, int(own)).head(most - drawn)
        met = rows.with_row_index("at").filter(request.met(model)).head(number - accepted)
        accepted += met.height
        found.append(met.drop("at"))
        if step is not None:
            step(f"{accepted:,}/{number:,}", done=accepted)
        if accepted == number:
            drawn += int(met["at"][-1]) + 1
            break
        drawn += rows.height
    return with_predictions(model, pl.concat(found), request), drawn


def table_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with cells in the place of their shapes."""
    shape = {name: rows[name].to_numpy() for name in SHAPE if name in rows.columns}
    cells = with_cells(shape)
    return rows.drop(shape).with_columns(pl.Series(name, cells[name]) for name in cells)


def with_predictions(model: FrameworkModel, rows: pl.DataFrame, request: Request) -> pl.DataFrame:
    """Return drawn rows with names, cells, what was requested and what surrogates predict."""
    columns: dict[str, Any] = {"name": [f"generated_{i:05d}" for i in range(rows.height)]}
    own = [name for name in rows.columns if name not in model.condition_names]
    columns |= table_of(rows.select(own)).to_dict()
    for name, value in request.values.items():
        columns[f"{name}_requested"] = np.full(rows.height, value)
    if model.surrogates and rows.height:
        columns |= model.predict(rows, model.condition_names)
    return pl.DataFrame(columns)


def _hits(rows: pl.DataFrame, name: str, value: float) -> str:
    """Say how far what is predicted lies from what was asked for, which may be impossible."""
    low, middle, high = (rows[f"{name}_{part}"] for part in ("low", "predicted", "high"))
    hits = ((low <= value) & (value <= high)).sum()
    return (
        f"{name} {value:g} was asked for: it is in the interval of {hits:,} of {rows.height:,} "
        f"rows, of which half are predicted above {float(np.median(middle)):.3g}"
    )


def generate_table(
    run: RunFolder,
    number: int,
    out: Path,
    progress: Progress,
    *,
    where: Sequence[str] = (),
    temperature: float = 1.0,
    balance: float = 0.0,
    max_attempts: int | None = None,
    seed: int = 0,
    all_or_nothing: bool = False,
) -> None:
    """Write new frameworks; fewer, where no more are found, before the `ShortfallError`."""
    require_writable(out)
    options = SamplingOptions(temperature, balance)
    model: FrameworkModel = run.model()
    request = Request.parse(where, model)
    for line in outside(model, request):
        progress.note(line)
    most = None if max_attempts is None else max_attempts * number
    with progress.stage("generating", number) as step:
        rows, drawn = generate(
            model, number, request, options=options, seed=seed, most=most, step=step
        )
    progress.note(
        f"{rows.height:,} of {drawn:,} rows drawn meet the request; temperature "
        f"{temperature:g}, balance {balance:g}, seed {seed}"
    )
    for name, surrogate in model.surrogates.items():
        progress.note(
            f"{name}_predicted is by trees on families that the model has not seen "
            f"(R2 {surrogate.r2:.2f}), its interval holds for 90 % of such"
        )
        if name in request.values and rows.height:
            progress.note(_hits(rows, name, request.values[name]))
    short = rows.height < number
    wanted = bool(rows.height) and not (short and all_or_nothing)
    if wanted:
        write_table(rows, out)
    if short:
        what = f"{rows.height} of {number} frameworks were found among {drawn:,} drawn"
        hint = "ask for less, raise --tries, or raise --balance for rare metals and linkers"
        raise ShortfallError(what, hint=hint, written=wanted)
