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
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from variolite.arguments import parse_mapping
from variolite.errors import DataError
from variolite.fields import Paths
from variolite.frameworks.diagnosis import Diagnosis, Layout, ModelFacts, diagnose
from variolite.frameworks.diagnosis.diagnose import HEADS, score_cells
from variolite.frameworks.generation.framework_model import FrameworkModel
from variolite.frameworks.generation.sampling import (
    Request,
    draw,
    table_of,
    with_predictions,
)
from variolite.progress import Progress
from variolite.records import Records, Split, write_table
from variolite.records.fitted import members_of
from variolite.records.records import text_values
from variolite.scoring.agreement import encode_groups
from variolite.scoring.evaluation import Entry, Evaluation
from variolite.scoring.health import kl_from_normal, posterior_information
from variolite.scoring.intervals import Bootstrap, Interval, group_means
from variolite.scoring.scorecard import Scorecard, ScoreKey
from variolite.text_table import text_table
from variolite.training.row_sampling import AS_TRAINED, SamplingOptions
from variolite.vae import Batch

if TYPE_CHECKING:
    from variolite.training import RunFolder

Floats = NDArray[np.float64]
Log = Callable[[str], None]

NOTHING = Request({}, {})
SPLIT = "held-out families"
DRAWN = 10_000  # rows drawn for the diagnosis, of each member
REQUESTS = 60  # values asked for, evenly over the middle nine tenths of the training range
EACH = 5  # frameworks for each of them


@dataclass(frozen=True)
class Parts:
    """Rows to ``train`` on and held out to ``test``, as frames with ``family`` and as records."""

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
    columns = [column for column in bound.columns.values() if column.role != "group"]
    frame = pl.DataFrame([table.frame[str(c.source)].alias(c.name) for c in columns])
    frame = frame[records.row].with_columns(pl.Series("family", records.group))
    train = np.isin(records.group, split.train)
    chosen = {"train": train, "test": ~train & ~np.isin(records.group, split.validation)}
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
    rows = table_of(rows).drop("name", "family", strict=False)
    texts = rows.select(pl.selectors.string())
    numbers = rows.select(pl.selectors.float().round_sig_figs(4))
    random = np.random.default_rng(seed)
    moved = [column.gather(random.permutation(rows.height)) for column in numbers]
    return (texts.sort(pl.all()) if texts.width else texts).with_columns(moved)


def diagnose_run(
    model: FrameworkModel, parts: Parts, *, seed: int = 0, log: Log
) -> tuple[Diagnosis, list[pl.DataFrame]]:
    """Hold rows drawn of every member against real ones, see `diagnose`; the rows come too."""
    log(f"drawing {DRAWN:,} rows")
    members = [model.only(i) for i in range(len(model.members))]
    drawn = [draw(one, DRAWN, NOTHING, AS_TRAINED, seed + i) for i, one in enumerate(members)]
    coldest = draw(members[0], 2_000, NOTHING, SamplingOptions(temperature=1e-4), seed)
    log("comparing them with real rows")
    found = diagnose(
        parts.frames["train"],
        parts.frames["test"],
        drawn,
        argmax=coldest,
        model=model_facts(members[0], parts.records["test"]),
        layout=Layout.among(drawn[0].columns),
    )
    return found, drawn


def doctor(
    run: RunFolder, data: Paths | None, progress: Progress, *, mapping: Sequence[str] = ()
) -> Diagnosis:
    """Draw rows and diagnose them, or take the diagnosis of the last score."""
    model: FrameworkModel = run.model()  # read even where it is not needed, so that damage shows
    if data is None:
        return run.require_health(Diagnosis)
    bound = parse_mapping(mapping, model.schema.schema.columns)
    with progress.stage("diagnosing") as step:
        return diagnose_run(model, parts_of(model, data, bound, run.split()), log=step)[0]


def model_facts(model: FrameworkModel, records: Records, seed: int = 0) -> ModelFacts:
    """What the latents of one member carry, and what is lost when they are permuted."""
    mean, log_variance = model.posterior(records)
    order = np.random.default_rng(seed).permutation(len(records))
    (batch,) = Batch.of(records, torch.device("cpu")).chunks(len(records))
    z, given = torch.from_numpy(mean.astype(np.float32)), batch.condition

    def likelihood(latents: torch.Tensor, condition: torch.Tensor | None) -> float:
        with torch.no_grad():
            found = model.module.generate(latents, condition)
            rows = found.log_prob(batch.numeric, batch.observed, batch.category, batch.sets)
            return float(rows.mean())

    known = likelihood(z, given)
    return ModelFacts(
        kl=kl_from_normal(mean, log_variance)[0].tolist(),
        information=posterior_information(mean[0], log_variance[0]),
        latent_drop=known - likelihood(z[:, order], given),
        condition_drop=None if given is None else known - likelihood(z, given[:, order]),
    )


def score(
    run: RunFolder, data: Any, progress: Progress, *, mapping: Sequence[str] = ()
) -> Scorecard:
    """Score a finished run; write scorecard.json, health.json, and the rows that the page shows."""
    bound, model = parse_mapping(mapping, run.recipe().columns), run.model()
    with progress.stage("scoring on held-out families") as step:
        parts = parts_of(model, data, bound, run.split())
        card = _reconstruction(model, parts).scorecard(Bootstrap(resamples=500))
        found, drawn = diagnose_run(model, parts, log=step)
        rows = found.score_rows(SPLIT)
        card = card.merge(Scorecard(rows, tuple(finding.text for finding in found.findings)))
        made = [table_of(frame).with_columns(member=i) for i, frame in enumerate(drawn)]
        for name in model.condition_names:
            step(f"asking for {name}")
            obeyed, asked = _obedience(model, name)
            card = card.merge(obeyed)
            made += asked
    card.write(run.scorecard_file)
    run.write_json(run.health_file, found.to_dict())
    write_table(parts.frames["test"], run.held_out_file)
    write_table(unlinked(parts.frames["train"]), run.training_file)
    # Half the size; nobody needs more digits of what was drawn.
    short = pl.selectors.float().cast(pl.Float32)
    write_table(pl.concat(made, how="diagonal").with_columns(short), run.generated_file)
    run.seal_score()
    return card


def _reconstruction(model: FrameworkModel, parts: Parts) -> Evaluation:
    """Share of categories and sets that come back whole, and the bound on the likelihood."""
    records, frame, entries = parts.records["test"], parts.frames["test"], list[Entry]()
    members = [model.only(member) for member in range(len(model.members))]
    decoded = [member.most_likely(records) for member in members]

    def score(key: ScoreKey, metric: str, values: ArrayLike, rows: NDArray[np.bool_]) -> None:
        """Score values (M, n) of some of the rows."""
        groups, codes = encode_groups(frame["family"].to_numpy()[rows])
        found = np.asarray(values, dtype=np.float64)[:, rows]
        entries.append(Entry(key, group_means(metric, found, codes, groups)))

    for name in (*model.schema.category_names, *model.schema.set_names):
        given = text_values(frame[name]) if name in frame.columns else np.array([])
        known = given != ""  # what is missing cannot come back
        if known.any():
            column = model.schema.schema.columns[name]
            if column.kind == "set":
                sorted_sets = (sorted(members_of(cell, column.separator)) for cell in given)
                given = np.array([column.separator.join(members) for members in sorted_sets])
            key = ScoreKey("reconstruction", "vae", SPLIT, feature=name)
            score(key, "accuracy", [one[name] == given for one in decoded], known)
    key = ScoreKey("likelihood", "vae", SPLIT, unit="nats per row")
    bound = model.evidence(records, samples=20)
    score(key, "log_likelihood_bound", bound, np.asarray(np.isfinite(bound).all(axis=0)))
    return Evaluation(tuple(entries))


def _obedience(
    model: FrameworkModel, name: str, seed: int = 0
) -> tuple[Scorecard, list[pl.DataFrame]]:
    """Ask for values over the range of the training rows, and correlate what is predicted.

    The rows that were made come too.
    """
    surrogate = model.surrogates.get(name)
    if surrogate is None:
        note = f"{name}: there were too few rows of other families for a surrogate"
        return Scorecard((), (note,)), []
    low, high = model.schema.numeric[name].usual or (0.0, 1.0)
    values = np.linspace(low + 0.05 * (high - low), high - 0.05 * (high - low), REQUESTS)
    found, resampled, made = list[float](), list[float](), list[pl.DataFrame]()
    for member in range(len(model.members)):
        one, predicted = model.only(member), list[Floats]()
        for turn, value in enumerate(values.tolist()):
            request = Request({name: value}, {})
            rows = draw(one, EACH, request, AS_TRAINED, seed + 1_000 * member + turn)
            made.append(with_predictions(one, rows, request).with_columns(member=member))
            predicted.append(made[-1][f"{name}_predicted"].to_numpy())
        # All requests, then as many of them with replacement.
        random, everything = np.random.default_rng(seed), np.arange(REQUESTS)
        chosen = [everything, *(random.integers(REQUESTS, size=REQUESTS) for _ in range(200))]
        answers = np.array(predicted)
        whole, *others = [
            float(spearmanr(np.repeat(values[some], EACH), answers[some].ravel())[0])
            for some in chosen
        ]
        found.append(whole)
        resampled += others
    interval = Interval(float(np.mean(found)), *np.percentile(resampled, [2.5, 97.5]).tolist())
    key = ScoreKey("generation", "vae", SPLIT, feature=name, unit="1")
    note = (
        f"spearman_asked of {name}: {REQUESTS} values from {values[0]:.3g} to {values[-1]:.3g} "
        f"asked for, {EACH} frameworks each, against a surrogate fitted on families that the model "
        f"has not seen (R2 {surrogate.r2:.2f} on families left out); it sees no condition"
    )
    row = key.row("spearman_asked", interval, REQUESTS, len(model.members))
    return Scorecard((row,), (note,)), made


def format_scorecard(card: Scorecard) -> str:
    """Lay out a card as plain text: the scores, then the notes."""
    table = text_table(HEADS, score_cells(card.rows), right=("value", "beside"), indent=2)
    return "\n".join([SPLIT, table, "notes", *(f"  {note}" for note in card.notes)])
