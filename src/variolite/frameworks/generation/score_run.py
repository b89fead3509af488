"""Scoring a run on frameworks: on families that it was not trained on, new rows beside real ones.

Reconstructions and likelihoods are of held-out families. What is generated is held against them
by `diagnosis`; whether a request is obeyed is for a surrogate to say that was fitted on other
families than the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from variolite.errors import DataError
from variolite.frameworks.diagnosis import Diagnosis, Layout, ModelFacts, diagnose
from variolite.frameworks.generation.framework_model import FrameworkModel
from variolite.frameworks.generation.sampling import (
    Request,
    draw,
    table_of,
    with_predictions,
)
from variolite.records import Records, Split, write_table
from variolite.records.fitted import members_of
from variolite.records.records import text_values
from variolite.scoring.health import kl_from_standard_normal, posterior_information
from variolite.scoring.intervals import Bootstrap, Interval
from variolite.scoring.scorecard import Scorecard, ScoreKey, ScoreRow
from variolite.text_table import text_table
from variolite.training.dials import PLAIN, Dials
from variolite.vae import Batch

if TYPE_CHECKING:
    from variolite.training import RunFolder

Floats = NDArray[np.float64]
Log = Callable[[str], None]

SPLIT = "held-out families"
DRAWN = 10_000  # rows drawn for the diagnosis, of each member
REQUESTS = 60  # values asked for, evenly over the middle nine tenths of the training range
EACH = 5  # frameworks for each of them


@dataclass(frozen=True)
class Parts:
    """Real rows of a table by meaning: as frames, with ``family``, and as records."""

    frames: Mapping[str, pl.DataFrame]
    records: Mapping[str, Records]


def parts_of(model: FrameworkModel, data: Any, mapping: Mapping[str, str], split: Split) -> Parts:
    """Take the training and the held-out rows out of a table; families of neither are held out.

    Raises a DataError where no row is left to score, or none was trained on.
    """
    table = model.table(data, mapping)
    records = model.schema.apply(table, mapping=mapping or None)
    bound = model.schema.schema.rebind(table.frame.columns, mapping)
    if records.group is None:
        hint = "Give a column 'family', or 'name' to read it off"
        raise DataError("the table does not say which family a row is of", hint=hint)
    named = [
        table.frame[str(c.source)].alias(c.name)
        for c in bound.columns.values()
        if c.role != "group"
    ]
    frame = pl.DataFrame(named)[records.row].with_columns(pl.Series("family", records.group))
    seen = {"train": set(split.train), "validation": set(split.validation)}
    known = {name: np.isin(records.group, list(groups)) for name, groups in seen.items()}
    chosen = {"train": known["train"], "test": ~known["train"] & ~known["validation"]}
    for name, what in (
        ("test", "no held-out row is left to score"),
        ("train", "no row of the training families is there to compare with"),
    ):
        if not chosen[name].any():
            hint = "Give the table that the run was trained on, whose split is kept in the run"
            raise DataError(what, where="--data", hint=hint)
    return Parts(
        {name: frame.filter(pl.Series(rows)) for name, rows in chosen.items()},
        {name: records.take(rows) for name, rows in chosen.items()},
    )


def unlinked(rows: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """Rows as distributions: sets and categories together, every number in an order of its own.

    No row can be recovered from it; numbers have four digits.
    """
    random = np.random.default_rng(seed)
    rows = table_of(rows).drop("name", "family", strict=False)
    texts = rows.select(pl.selectors.string())
    numbers = rows.select(pl.selectors.float().round_sig_figs(4))
    order = [random.permutation(rows.height) for _ in numbers.columns]
    moved = [column.gather(own) for column, own in zip(numbers, order, strict=True)]
    return (texts.sort(pl.all()) if texts.width else texts).with_columns(moved)


def draw_rows(model: FrameworkModel, *, seed: int = 0, log: Log) -> list[pl.DataFrame]:
    """Draw rows of every member, whatever they are."""
    log(f"drawing {DRAWN:,} rows")
    nothing, members = Request({}, {}), range(len(model.members))
    return [draw(model.only(i), DRAWN, nothing, PLAIN, seed + i) for i in members]


def diagnose_run(
    model: FrameworkModel, parts: Parts, drawn: Sequence[pl.DataFrame], *, seed: int = 0, log: Log
) -> Diagnosis:
    """Hold rows drawn of every member against real ones; see `diagnose`."""
    log("comparing them with real rows")
    first = model.only(0)
    coldest = draw(first, 2_000, Request({}, {}), Dials(temperature=1e-4), seed)
    facts = model_facts(first, parts.records["test"])
    train, test = parts.frames["train"], parts.frames["test"]
    layout = Layout.among(drawn[0].columns)
    return diagnose(train, test, drawn, argmax=coldest, model=facts, layout=layout)


def model_facts(model: FrameworkModel, records: Records, seed: int = 0) -> ModelFacts:
    """What the latents of one member carry, and what is lost when they are permuted."""
    mean, log_variance = model.posterior(records)
    order = np.random.default_rng(seed).permutation(len(records))
    (batch,) = Batch.of(records, torch.device("cpu")).chunks(len(records))
    z = torch.from_numpy(mean.astype(np.float32))

    def likelihood(latents: torch.Tensor, condition: torch.Tensor | None) -> float:
        with torch.no_grad():
            found = model.module.generate(latents, condition)
            return float(
                found.log_prob(batch.numeric, batch.observed, batch.category, batch.sets).mean()
            )

    known = likelihood(z, batch.condition)
    given = batch.condition
    moved = None if given is None else known - likelihood(z, given[:, order])
    return ModelFacts(
        kl=kl_from_standard_normal(mean, log_variance)[0].tolist(),
        information=posterior_information(mean[0], log_variance[0]),
        latent_drop=known - likelihood(z[:, order], given),
        condition_drop=moved,
    )


def score_framework_run(
    run: RunFolder,
    data: Any,
    *,
    mapping: Mapping[str, str],
    seed: int = 0,
    log: Log = lambda _: None,
) -> Scorecard:
    """Score a finished run; write scorecard.json, health.json, and the rows that the page shows."""
    model: FrameworkModel = run.model()
    parts = parts_of(model, data, mapping, run.split())
    rows = [*_reconstruction(model, parts.records["test"], parts.frames["test"])]
    drawn = draw_rows(model, seed=seed, log=log)
    found = diagnose_run(model, parts, drawn, seed=seed, log=log)
    rows += _generation(found, len(model.members))
    notes = [finding.text for finding in found.findings]
    made = [table_of(frame).with_columns(member=i) for i, frame in enumerate(drawn)]
    for name in model.condition_names:
        log(f"asking for {name}")
        more, note, asked = _obedience(model, name, seed)
        rows += more
        made += asked
        notes.append(note)
    card = Scorecard(tuple(rows), tuple(notes))
    card.write(run.scorecard_file)
    run.write_json(run.health_file, found.to_dict())
    write_table(parts.frames["test"], run.held_out_file)
    write_table(unlinked(parts.frames["train"], seed), run.training_file)
    # Half the size; nobody needs more digits of what was drawn.
    short = pl.selectors.float().cast(pl.Float32)
    write_table(pl.concat(made, how="diagonal").with_columns(short), run.generated_file)
    run.seal_score()
    return card


def _reconstruction(model: FrameworkModel, records: Records, frame: pl.DataFrame) -> list[ScoreRow]:
    """Share of categories and sets that come back whole, and the bound on the likelihood."""
    families = frame["family"].to_numpy()
    values: dict[tuple[ScoreKey, str], Floats] = {}
    for name in (*model.schema.category_names, *model.schema.set_names):
        given = text_values(frame[name]) if name in frame.columns else np.array([])
        known = given != ""  # what is missing cannot come back
        if not known.any():
            continue
        column = model.schema.schema.columns[name]
        given = _ordered(given, column.separator) if column.kind == "set" else given
        hit = [
            np.where(known, model.only(member).most_likely(records)[name] == given, np.nan)
            for member in range(len(model.members))
        ]
        key = ScoreKey("reconstruction", "vae", SPLIT, feature=name)
        values[key, "accuracy"] = np.array(hit, dtype=np.float64)
    values[ScoreKey("likelihood", "vae", SPLIT, unit="nats per row"), "log_likelihood_bound"] = (
        model.evidence(records, samples=20)
    )
    return [
        key.row(metric, *_interval(array, families), len(array))
        for (key, metric), array in values.items()
    ]


def _ordered(cells: NDArray[Any], separator: str) -> NDArray[Any]:
    """Write the members of sets in the order of the alphabet."""
    return np.array([separator.join(sorted(members_of(cell, separator))) for cell in cells])


def _interval(values: Floats, families: NDArray[Any]) -> tuple[Interval, int]:
    """Mean over rows and members (M, n), with an interval over families and members; families.

    Rows that are NaN do not count.
    """
    plan = Bootstrap(resamples=500)
    known = np.isfinite(values).all(axis=0)
    values, families = values[:, known], families[known]
    names, group = np.unique(families, return_inverse=True)
    weights = np.vstack([np.ones(len(names)), plan.groups(len(names))])[:, group]
    means = (weights @ values.T) / weights.sum(axis=1, keepdims=True)
    return plan.interval(float(means[0].mean()), plan.over_seeds(means[1:])), len(names)


def _generation(found: Diagnosis, members: int) -> list[ScoreRow]:
    """The chief figures of a diagnosis as rows; what they stand beside is a method of its own."""
    rows = []
    groups = found.rows["held_out_families"]
    for figure in found.figures:
        if figure.of == "model" or not figure.shown:
            continue
        of = figure.of if figure.n is None else f"{figure.of}, {figure.n:,} draws"
        entries = [("vae", figure.value, figure.low, figure.high)]
        if np.isfinite(figure.reference):
            beside = (figure.reference, figure.reference_low, figure.reference_high)
            entries.append((figure.against, *beside))
        for method, value, low, high in entries:
            key = ScoreKey("generation", method, SPLIT, feature=of, unit="1")
            rows.append(key.row(figure.quantity, Interval(value, low, high), groups, members))
    return rows


def _obedience(
    model: FrameworkModel, name: str, seed: int
) -> tuple[list[ScoreRow], str, list[pl.DataFrame]]:
    """Ask for values over the range of the training rows, and correlate what is predicted.

    The rows that were made come too.
    """
    low, high = model.schema.numeric[name].usual or (0.0, 1.0)
    values = np.linspace(low + 0.05 * (high - low), high - 0.05 * (high - low), REQUESTS)
    surrogate = model.surrogates.get(name)
    if surrogate is None:
        return [], f"{name}: there were too few rows of other families for a surrogate", []
    statistics, asked_for = [], []
    for member in range(len(model.members)):
        one, predicted = model.only(member), []
        for turn, value in enumerate(values.tolist()):
            request = Request({name: value}, {})
            seed_of = seed + 1_000 * member + turn
            made = with_predictions(one, draw(one, EACH, request, PLAIN, seed_of), request)
            predicted.append(made[f"{name}_predicted"].to_numpy())
            asked_for.append(made.with_columns(member=member))
        found = np.array(predicted)
        rng, asked = np.random.default_rng(seed), np.repeat(values, EACH)
        resampled = []
        for _ in range(200):
            chosen = rng.integers(REQUESTS, size=REQUESTS)
            rank = spearmanr(np.repeat(values[chosen], EACH), found[chosen].ravel())[0]
            resampled.append(float(rank))
        statistics.append((float(spearmanr(asked, found.ravel())[0]), resampled))
    mean = float(np.mean([value for value, _ in statistics]))
    spread = np.concatenate([values for _, values in statistics])
    interval = Interval(mean, *np.percentile(spread, [2.5, 97.5]).tolist())
    key = ScoreKey("generation", "vae", SPLIT, feature=name, unit="1")
    note = (
        f"spearman_asked of {name}: {REQUESTS} values from {values[0]:.3g} to {values[-1]:.3g} "
        f"asked for, {EACH} frameworks each, against a surrogate fitted on families that the model "
        f"has not seen (R2 {surrogate.r2:.2f} on families left out); it sees no condition"
    )
    row = key.row("spearman_asked", interval, REQUESTS, len(model.members))
    return [row], note, asked_for


HEADS = ("metric", "of", "value", "95 %", "beside", "which is")


def score_cells(card: Scorecard) -> list[tuple[str, ...]]:
    """Cells under `HEADS`: a row per quantity, what it stands beside to its right."""
    beside = {(row.metric, row.feature): row for row in card.rows if row.method != "vae"}
    cells: list[tuple[str, ...]] = []
    for row in card.select(method="vae"):
        other = beside.get((row.metric, row.feature))
        spread = f"{row.low:.3g} to {row.high:.3g}" if np.isfinite(row.low) else ""
        against = (f"{other.mean:.3g}", other.method) if other else ("", "")
        cells.append((row.metric, row.feature or "", f"{row.mean:.3g}", spread, *against))
    return cells


def format_scorecard(card: Scorecard) -> str:
    """Lay out a card as plain text: the scores, then the notes."""
    table = text_table(HEADS, score_cells(card), right=("value", "beside"), indent=2)
    return "\n".join([SPLIT, table, "notes", *(f"  {note}" for note in card.notes)])
