"""The next batch: candidates scored by a strategy, and the best of them that the money buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError, ShortfallError, nearest, some_of
from variolite.planning import acquisition, fidelity
from variolite.planning.pool import Pool, generated, require_column
from variolite.planning.proposal import Choice, Proposal, lay_out
from variolite.planning.rules import Rules
from variolite.planning.selection import AtMost, Share, choose
from variolite.planning.strategies import STRATEGIES, View
from variolite.planning.surrogate import FEWEST, Surrogate
from variolite.progress import Progress
from variolite.records.records import text_values

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_CHUNK = 4096
_SCREENED = 5_000  # Candidates that get more than a mean and a standard deviation.
_PREDICTED = ("mean", "sd", "low", "high")


def propose(
    pool: Pool,
    money: float,
    rules: Rules,
    *,
    round: int = 1,
    pending: Sequence[str] = (),
    share: float = 1.0,
    surrogates: tuple[Surrogate, ...] = (),
    progress: Progress | None = None,
) -> Proposal:
    """Propose a batch for at most ``money``.

    ``pending`` are candidates that are being measured, ``share`` is the money left as a share of
    the budget, and ``surrogates`` are fitted where none are given. Raises a ShortfallError where
    every candidate is measured or pending, a DataError where the money buys none.
    """
    progress = progress or Progress()
    random = np.random.default_rng([rules.seed, round])
    left, money = money, min(money, rules.batch_budget or money)
    free = ~np.isin(pool.names, list(pending))
    open_ = pool.take(pool.affordable & free)
    _require_affordable(open_, left, money, rules.fixed_cost, round)
    notes, known = list(pool.notes), pool.values[pool.measured]
    names = _controls(pool, open_, rules.controls, notes)
    limits, linked = limits_of(open_, rules), None
    if pool.cheap is not None:
        little = min(money, left / 10)
        few = fidelity.to_learn_from(pool, little, free)
        if few.any():
            some = fidelity.priced(pool, few).take(few)
            return _first_batch(some, little, Rules(rules.batch), [], known, round, notes, random)
        linked = fidelity.fit_linked(
            pool, rules.seed, lambda model: predict((model,), pool.features, progress)
        )
    if linked is not None and pool.cheap is not None:
        tried = np.isfinite(pool.cheap.values)
        pool, surrogates = linked[0], linked[1:]
        open_ = pool.take(pool.affordable & free)
        if not len(known):
            # Better than what those with a cheap value have on the average.
            known = linked[1].trend(pool.features[tried]).mean(keepdims=True)[:, None]
    elif len(known) < FEWEST or not np.ptp(known, axis=0).all():
        return _first_batch(open_, money, rules, limits, known, round, notes, random)
    surrogates = surrogates or fit_surrogates(pool, np.flatnonzero(pool.measured), rules.seed)
    expected = predict(surrogates, open_.features, progress)
    if (number := len(open_)) > _SCREENED:
        keep = _screened(expected, np.isin(open_.names, names))
        open_, limits = open_.take(keep), [limit.among(keep) for limit in limits]
        expected = {key: values[keep] for key, values in expected.items()}
        notes.append(f"{len(open_):,} of {number:,} candidates by upper bound are compared")
    controls = np.flatnonzero(np.isin(open_.names, names)).tolist()
    view = View(
        surrogates=surrogates,
        features=open_.features,
        means=expected["mean"],
        sds=expected["sd"],
        observed=known,
        cost=open_.cost_high,
        money=money,
        left=left,
        share=share,
        batch=rules.batch,
        total=len(pool),
        round=round,
        generated=generated(open_.frame),
        random=random,
    )
    score, most = STRATEGIES[rules.strategy](view), best_return(pool, view)
    cheap: list[int] = []
    if linked is not None and open_.cheap is not None:
        cost = open_.cheap.cost_high
        cheap, held, rate = fidelity.cheap_orders(view, linked[1], cost, rules.batch, controls)
        score = np.where(held, -np.inf, score)
        most = None if most is None else max(most, rate * (pool.columns.targets[0].worth or 0.0))
        expected = fidelity.with_cheap(expected, view.features)
    # Where nothing brings what it costs, nothing but what is required is taken.
    if most is not None and most < 1.0:
        score, cheap = np.zeros(len(score)), []
    else:
        score = _positive(score)
    if cheap:
        highest = float(score.max(initial=1e-12, where=np.isfinite(score)))
        score[cheap] = highest * np.arange(len(cheap) + 1, 1, -1)
        open_ = fidelity.priced(open_, np.isin(np.arange(len(open_)), cheap))
        view = replace(view, cost=open_.cost_high)
    taken = choose(score, view.cost, money, rules.batch, limits=limits, required=controls)
    choice = Choice(open_, view, expected, score, taken, controls, cheap, most)
    return choice.proposal(bool(pool.measured.any()), rules, surrogates[0].calibration, notes)


def _require_affordable(
    open_: Pool, left: float, money: float, fixed_cost: float, round: int
) -> None:
    """Raise a ShortfallError where no candidate is open, a DataError where all cost too much."""
    if not len(open_):
        what = "every candidate with a known cost is measured or pending"
        raise ShortfallError(what, hint="Add candidates to the pool; the campaign is at its end")
    cheapest = float(open_.cost_high.min())
    if open_.cheap is not None and cheapest <= left:
        of_cheap = open_.cheap.cost_high[np.isnan(open_.cheap.values)]
        cheapest = float(np.fmin.reduce(of_cheap, initial=cheapest))
    if cheapest > money:
        fixed = f" after its fixed cost of {fixed_cost:,.2f}" if fixed_cost else ""
        there = f"round {round} has {max(money, 0.0):,.2f}{fixed}"
        what = f"the cheapest candidate costs {cheapest:,.2f}, and {there}"
        raise DataError(what, hint="Raise the budget")


def fit_surrogates(
    pool: Pool, measured: Integers, seed: int, folds: int = 8
) -> tuple[Surrogate, ...]:
    """Fit one surrogate per target on measured candidates, intervals by so many folds."""
    groups = pool.groups[measured] if pool.groups is not None else None
    return tuple(
        Surrogate(seed=seed, folds=folds).fit(
            pool.features[measured], values[measured], noise[measured], groups, pool.features
        )
        for values, noise in zip(pool.values.T, pool.noise.T, strict=True)
    )


def predict(
    surrogates: Sequence[Surrogate], features: Floats, progress: Progress
) -> dict[str, Floats]:
    """Return mean, standard deviation and ends of the 90 % interval by name, (N, T) each."""
    parts = []
    if len(features) <= _CHUNK:
        progress = Progress()
    with progress.stage("predicting", len(features)) as step:
        for begin in range(0, len(features), _CHUNK):
            some = [s.predict(features[begin : begin + _CHUNK]) for s in surrogates]
            parts.append([np.column_stack([getattr(p, key) for p in some]) for key in _PREDICTED])
            step("candidates", done=min(begin + _CHUNK, len(features)))
    whole = (np.concatenate(kind) for kind in zip(*parts, strict=True))
    return dict(zip(_PREDICTED, whole, strict=True))


def _screened(expected: dict[str, Floats], required: NDArray[np.bool_]) -> Integers:
    """Places of the candidates with the highest upper bounds, and of those ``required`` (N,)."""
    bound = expected["mean"][:, 0] + 2 * expected["sd"][:, 0]
    best = np.argsort(-bound, kind="stable")[:_SCREENED]
    return np.union1d(best, np.flatnonzero(required))


def _positive(score: Floats) -> Floats:
    """Shift scores so that the least that is finite is a little above 0: a batch is filled."""
    finite = score[np.isfinite(score)]
    if not len(finite):
        return score
    least = min(float(finite.min()), 0.0)
    shifted: Floats = score - least + 1e-9 * np.ptp(finite) + 1e-12
    return shifted


def best_return(pool: Pool, view: View) -> float | None:
    """Worth of the expected improvement of a candidate over its cost, the largest; or None."""
    worth = pool.columns.targets[0].worth
    if worth is None:
        return None
    log_ei = acquisition.log_expected_improvement(view.mean, view.sd, view.best)
    return float((np.exp(log_ei) * worth / np.maximum(view.cost, 1e-9)).max())


def limits_of(pool: Pool, rules: Rules) -> list[AtMost | Share]:
    """Turn the rules of a batch into limits over a pool."""

    def cells(column: str) -> NDArray[np.str_]:
        require_column(pool.frame, column, "pool")
        return text_values(pool.frame[column])

    found: list[AtMost | Share] = [
        AtMost(cells(column), f"at most {most} per {column}", most=most)
        for column, most in rules.at_most.items()
    ]
    for (column, value), (low, high) in rules.shares.items():
        title = f"{low:.0%} to {high:.0%} of {column} {value}"
        found.append(Share(cells(column), title, value=value, least=low, most=high))
    return found


def _controls(pool: Pool, open_: Pool, names: Sequence[str], notes: list[str]) -> list[str]:
    """Return the controls that are open; a DataError where one is not in the pool."""
    if unknown := [name for name in names if name not in pool.names]:
        close = nearest(unknown[0], pool.names.tolist())
        hint = f"Did you mean {close}?" if close else None
        what = f"{', '.join(map(repr, unknown[:8]))} is not in the pool"
        raise DataError(what, where="controls", hint=hint)
    if taken := [name for name in names if name not in open_.names]:
        notes.append(f"no controls, being measured, ordered or without a cost: {some_of(taken)}")
    return [name for name in names if name in open_.names]


def _first_batch(
    open_: Pool,
    money: float,
    rules: Rules,
    limits: Sequence[AtMost | Share],
    known: Floats,
    round: int,
    notes: list[str],
    random: np.random.Generator,
) -> Proposal:
    """Spread a batch over candidates: there is nothing yet to learn from."""
    if open_.cheap is not None and open_.cheap.ordered.any():
        target, cheap = (t.column for t in open_.columns.measurable)
        which = f"with a {target}" if open_.measured.all() else "over the pool"
        notes.append(
            f"{cheap} is measured first, of candidates {which}: to see how it goes with {target}"
        )
    else:
        few = f"{len(known)} values, too few or all equal" if len(known) else ""
        notes.append(f"{few or 'nothing is measured yet'}: the batch is spread over the pool")
    x = open_.features
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    # Farthest first: each is as unlike those before it as can be; earlier ones score higher.
    score, apart = np.zeros(len(x)), np.full(len(x), np.inf)
    current = int(np.argmin((x**2).sum(axis=1)))
    wanted = min(len(x), 3 * rules.batch)
    for place in range(wanted):
        score[current] = wanted - place
        apart = np.minimum(apart, ((x - x[current]) ** 2).sum(axis=1))
        current = int(np.argmax(np.where(score > 0, -1.0, apart)))
    score[score == 0] = 1e-6 * random.random(int((score == 0).sum()))
    controls = np.flatnonzero(np.isin(open_.names, list(rules.controls))).tolist()
    taken = choose(score, open_.cost_high, money, rules.batch, limits=limits, required=controls)
    return Proposal(
        table=lay_out(taken, open_, {}, round, why=["unlike the others"] * len(taken)),
        rest=lay_out(taken[:0], open_, {}, round, why_not=[]),
        costs=open_.cost_high[taken].tolist(),
        gain=None,
        verdict="A first batch to learn from: nothing can be said of its gain.",
        calibration={},
        notes=notes,
    )
