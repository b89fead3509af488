"""Remedies against lost tails and mode collapse, and augmentation, each beside the default recipe.

    python -m benchmarks.frameworks.remedies --data TABLE --core CORE2019 --records FILE

TABLE is what `variolite frameworks describe` and `labels` wrote of CRAFTED, CORE2019 the table of
CoRE MOF 2019. FILE gets a line for every model: what it holds is not measured again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import torch
from benchmarks.frameworks.baselines import DRAWS, evaluate
from benchmarks.frameworks.models import of_fifty
from benchmarks.frameworks.remedy_training import (
    PATIENCE,
    Change,
    Floats,
    Split,
    fine_tuning,
    first,
    fit,
    inverse_frequency,
    pretrained,
    reference,
    versions,
    with_prior,
    without_conditions,
)
from benchmarks.pages import RESULTS, command, plain, provenance, table, write_page
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from variolite.frameworks.columns import join
from variolite.frameworks.columns import split as split_set
from variolite.frameworks.generation import sampling
from variolite.frameworks.generation.framework_model import FrameworkModel
from variolite.frameworks.generation.sampling import ROUND, Request, draw
from variolite.records import FittedSchema, Records
from variolite.training import tabular
from variolite.training.device import single_thread
from variolite.training.row_sampling import AS_TRAINED, SamplingOptions, draw_rows
from variolite.vae import Joint
from variolite.vae.sets import Members

SPLITS = 3
DEFAULT = "default"
REQUESTS, EACH, FEWEST = 60, 5, 200
FEW = 500  # rows among which balance chooses the few of a request
SAMPLES = 20  # of the bound on the likelihood

Draw = Callable[[int, Mapping[str, float], int], pl.DataFrame]
"""Rows from a number, values asked for, and a seed."""


@dataclass(frozen=True)
class Trial:
    """A generator that was made: how it draws, its bound (nats per row), seconds of a core.

    ``at_once`` rows of it are those that 50 are taken of; ``asked`` where requests are measured.
    """

    draw: Draw
    bound: float
    seconds: float
    at_once: int = DRAWS
    asked: bool = True


def trial(
    split: Split,
    model: FrameworkModel,
    seconds: float,
    options: SamplingOptions = AS_TRAINED,
    adjustment: float = 0.0,
    powers: tuple[float, float] = sampling.POWERS,
) -> Trial:
    """Make a trial of a VAE; ``adjustment`` is a power for `adjusted_rows`, ``powers`` balance."""

    def made(n: int, values: Mapping[str, float], seed: int) -> pl.DataFrame:
        # The adjustment is by all rows drawn: a handful would not do.
        many = max(n, FEWEST) if adjustment else n
        # For a handful of rows of each request less must do, or it would take hours.
        pool, at_once = (sampling.POOL, ROUND) if n > EACH else (FEW, FEW)
        with (
            patch.object(tabular, "draw_rows", partial(adjusted_rows, adjustment)),
            patch.object(sampling, "POOL", pool),
            patch.object(sampling, "ROUND", at_once),
            patch.object(sampling, "POWERS", powers),
        ):
            return draw(model, many, Request(values, {}), options, seed).head(n)

    bound = float(model.evidence(held_out(split, model.schema), samples=SAMPLES).mean())
    at_once = ROUND if options.balance else DRAWS
    return Trial(made, bound, seconds, at_once, powers == sampling.POWERS)


def adjusted_rows(
    power: float,
    schema: FittedSchema,
    likelihood: Joint,
    random: torch.Generator,
    options: SamplingOptions,
) -> dict[str, Any]:
    """Draw rows with every logit less the log of how often its level is drawn, times a power.

    Post-hoc logit adjustment (A. Menon et al., 2021), one column at a time.
    """
    t = options.temperature

    def shift(logits: Tensor) -> Tensor:
        return -power * torch.softmax(logits / t, dim=-1).mean(1).clamp(min=1e-9).log()[0]

    if power:
        categories = tuple(
            replace(one, logits=one.logits + t * shift(one.logits)) for one in likelihood.categories
        )
        sets: Any = tuple(AdjustedSets(one, shift(first(one))) for one in likelihood.sets)
        likelihood = replace(likelihood, categories=categories, sets=sets)
    return draw_rows(schema, likelihood, random, options)


@dataclass(frozen=True)
class AdjustedSets:
    """Sets whose members have ``shift`` (levels,) added to their logits, but not the stop token."""

    of: Members
    shift: Tensor

    def sample(self, random: torch.Generator, *, temperature: float) -> Tensor:
        """Draw sets as `Members.sample` does."""
        rows, shape = self.of.query.shape[1], self.of.column.shape
        codes, state = torch.full((1, rows, shape.most), -1), self.of.query
        last, open_ = torch.full((1, rows), -1), torch.ones((1, rows), dtype=torch.bool)
        for step in range(shape.most):
            logits, stop = self.of._logits(state, torch.full((rows,), step))
            before = torch.arange(shape.levels) <= last.unsqueeze(-1)
            logits, stop = (logits / temperature).masked_fill(before, -np.inf), stop / temperature
            total = torch.logaddexp(torch.logsumexp(logits, dim=-1), stop)
            open_ = open_ & (torch.rand((1, rows), generator=random) >= torch.exp(stop - total))
            open_ = open_ & (last < shape.levels - 1)
            moved = (logits + self.shift).masked_fill(~open_.unsqueeze(-1), 0.0)
            drawn = torch.softmax(moved, dim=-1)[0].multinomial(1, generator=random).view(1, rows)
            last = torch.where(open_, drawn, last)
            codes[..., step] = torch.where(open_, drawn, -1)
            vectors = self.of.seen[0][drawn] * open_.unsqueeze(-1)
            state = state + vectors @ self.of.column.follows
        return codes


def held_out(split: Split, schema: FittedSchema) -> Records:
    """Held-out rows, with the linkers and nets that training rows of CRAFTED have."""
    own = split.prepared.schema
    rows = split.table[split.prepared.part("test").row]
    for name in (*own.set_names, *own.category_names):
        known = set(own.levels[name])
        cells = [
            join(m for m in split_set(cell or "") if m in known) or None for cell in rows[name]
        ]
        rows = rows.with_columns(pl.Series(name, cells, dtype=pl.String))
    return schema.apply(rows)


def changed(change: Change, split: Split, seed: int) -> Trial:
    """Train the default with a change."""
    began = time.process_time()
    model = fit(split, seed, change)
    seconds = time.process_time() - began
    return trial(split, with_prior(split, model, change, seed), seconds)


def fine_tuned(core: Path, fresh: bool, split: Split, seed: int) -> Trial:
    """Train on CoRE, once for every split, then on CRAFTED.

    A ``fresh`` one forgets before the second training what conditions do.
    """
    if (split.seed, core) not in _PRETRAINED:
        _PRETRAINED[split.seed, core] = pretrained(core, split, Path(tempfile.mkdtemp()))
    joint, change, before = _PRETRAINED[split.seed, core]
    if fresh:
        change = replace(change, start=without_conditions(change.start))
    began = time.process_time()
    model = fit(joint, seed, change, fine_tuning(split))
    seconds = before + time.process_time() - began
    return trial(split, with_prior(joint, model, change, seed), seconds)


_PRETRAINED: dict[tuple[int, Path], tuple[Split, Change, float]] = {}


# The other generator.


class Diffusion(nn.Module):
    """Diffusion of a record: categories are masked, numbers are mixed with noise.

    Categories are masked diffusion with an absorbing state (J. Austin et al., 2021; S. Sahoo et
    al., 2024), numbers and conditions flow matching (Y. Lipman et al., 2023), in one network over
    one time, 0 noise and 1 data. A set of w members is w categories, the last of them possibly
    none. Half of the time a condition is given as it is, so that it can be asked for.
    """

    def __init__(self, levels: list[int], numbers: int, conditions: int, width: int, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.levels, self.conditions = levels, conditions
        self.tokens = nn.ModuleList(nn.Embedding(count + 1, 16) for count in levels)
        inputs = 16 * len(levels) + 2 * numbers + conditions + 2 * _WAVES
        self.body = nn.Sequential(
            *(nn.Linear(inputs, width), nn.ReLU(), nn.LayerNorm(width), nn.Dropout(0.1)),
            *(nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width), nn.Dropout(0.1)),
            nn.Linear(width, numbers + sum(levels)),
        )

    def forward(
        self, codes: Tensor, numbers: Tensor, observed: Tensor, given: Tensor, at: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """Velocities of numbers and logits of categories; code = levels is the mask."""
        angles = at * torch.arange(1, _WAVES + 1) * torch.pi
        parts = [token(codes[:, i]) for i, token in enumerate(self.tokens)]
        parts += [numbers, observed, given, angles.sin(), angles.cos()]
        out = self.body(torch.cat(parts, dim=1))
        velocity, logits = out.split([numbers.shape[1], sum(self.levels)], dim=1)
        return velocity, list(logits.split(self.levels, dim=1))

    def loss(self, codes: Tensor, x: Tensor, observed: Tensor, random: torch.Generator) -> Tensor:
        """Cross entropy of masked categories and squared error of velocities, per row."""
        n, k = len(x), self.conditions
        at = torch.rand((n, 1), generator=random)
        given = (torch.rand((n, k), generator=random) < 0.5).float()
        clean = torch.cat([torch.zeros(n, x.shape[1] - k), given], dim=1)
        start = torch.randn(x.shape, generator=random)
        mixed = torch.lerp(start, x, torch.maximum(at, clean)) * observed
        hidden = torch.rand(codes.shape, generator=random) >= at
        masked = torch.where(hidden, torch.tensor(self.levels), codes)
        velocity, logits = self(masked, mixed, observed, given, at)
        error = ((velocity - (x - start)).square() * observed * (1.0 - clean)).sum(dim=1)
        words = [cross_entropy(row, codes[:, i], reduction="none") for i, row in enumerate(logits)]
        # Weighed by 1 / (1 - t) this is a bound on the likelihood of the categories.
        weight = 1.0 / (1.0 - at).clamp(min=0.05)
        return (error + (torch.stack(words, dim=1) * hidden * weight).sum(dim=1)).mean()

    @torch.no_grad()
    def sample(self, n: int, given: Mapping[int, float], seed: int) -> tuple[Tensor, Tensor]:
        """Draw codes (n, tokens) and numbers (n, D), some conditions given by position."""
        random = torch.Generator().manual_seed(seed)
        numbers = (self.body[0].in_features - 16 * len(self.levels) - 2 * _WAVES) // 2
        numbers -= self.conditions // 2
        x = torch.randn((n, numbers), generator=random)
        known = torch.zeros(n, self.conditions)
        for place, value in given.items():
            known[:, place] = 1.0
            x[:, numbers - self.conditions + place] = value
        free = 1.0 - torch.cat([torch.zeros(n, numbers - self.conditions), known], dim=1)
        codes = torch.tensor(self.levels).repeat(n, 1)
        for step in range(STEPS):
            at = torch.full((n, 1), step / STEPS)
            velocity, logits = self(codes, x, torch.ones_like(x), known, at)
            x = x + velocity * free / STEPS
            shown = torch.rand(codes.shape, generator=random) < 1.0 / (STEPS - step)
            for i, row in enumerate(logits):
                drawn = torch.softmax(row, dim=1).multinomial(1, generator=random)[:, 0]
                hide = codes[:, i] == self.levels[i]
                codes[:, i] = torch.where(hide & shown[:, i], drawn, codes[:, i])
        return codes, x


_WAVES, STEPS = 4, 50


def diffusion(factor: float, split: Split, seed: int) -> Trial:
    """Train a diffusion for ``factor`` times the seconds of a core that the default takes."""
    made = split.prepared
    schema, allowed = made.schema, factor * _DEFAULT_SECONDS[split.seed]

    def arrays(records: Records) -> tuple[Tensor, Tensor, Tensor]:
        columns = [records.category]
        for name in schema.set_names:
            none = len(schema.levels[name])
            codes = np.full((len(records), widths[name]), none)
            some = records.sets[name][:, : widths[name]]
            codes[:, : some.shape[1]] = np.where(some < 0, none, some)
            columns.append(codes)
        # What is missing is a level of a category of its own.
        nets = [len(schema.levels[name]) for name in schema.category_names]
        columns[0] = np.where(columns[0] < 0, nets, columns[0])
        x = np.concatenate([records.numeric, records.condition], axis=1)
        seen = np.concatenate([records.observed, np.ones_like(records.condition)], axis=1)
        codes, values = np.concatenate(columns, axis=1), (x, seen.astype(np.float32))
        return torch.from_numpy(codes), *(torch.from_numpy(v) for v in values)

    widths = {name: made.part("train").sets[name].shape[1] for name in schema.set_names}
    training, validation = arrays(made.part("train")), arrays(made.part("validation"))
    names = [*schema.category_names, *(n for n in schema.set_names for _ in range(widths[n]))]
    levels = [len(schema.levels[name]) + 1 for name in names]
    conditions = made.part("train").condition.shape[1]
    net = Diffusion(levels, training[1].shape[1], conditions, 128, seed)
    began, best, least = time.process_time(), net.state_dict(), np.inf
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    random = torch.Generator().manual_seed(seed)
    epoch = 0
    with single_thread(0):
        while time.process_time() - began < allowed:
            net.train()
            for chosen in torch.randperm(len(training[0]), generator=random).split(32):
                optimiser.zero_grad()
                net.loss(*(part[chosen] for part in training), random).backward()
                optimiser.step()
            epoch += 1
            if epoch % 4:
                continue
            net.eval()
            with torch.no_grad():
                fixed = torch.Generator().manual_seed(1)
                repeated = tuple(part.repeat(8, 1) for part in validation)
                value = float(net.loss(*repeated, fixed))
            if value < least:
                least, best = value, {n: v.clone() for n, v in net.state_dict().items()}
    seconds = time.process_time() - began
    net.load_state_dict(best)
    net.eval()
    numeric = [c.name for c in schema.schema.of_role("condition", "numeric")]

    def drawn(n: int, values: Mapping[str, float], own: int) -> pl.DataFrame:
        given = {
            numeric.index(name): float(schema.numeric[name].evaluate(np.array([value]))[0][0])
            for name, value in values.items()
        }
        codes, x = net.sample(n, given, own)
        made = schema.inverse(x[:, :-conditions].double().numpy())
        columns: dict[str, Any] = dict(zip(schema.numeric_names, made.T, strict=True))
        for i, name in enumerate(numeric):
            if name not in values:
                column = x[:, x.shape[1] - conditions + i].double().numpy()
                columns[name] = schema.numeric[name].inverse(column)
        for name in dict.fromkeys(names):
            places = [i for i, other in enumerate(names) if other == name]
            texts = [*schema.levels[name], ""]
            cells = [join(texts[c] for c in row if texts[c]) for row in codes[:, places]]
            columns[name] = [cell or None for cell in cells]
        return pl.DataFrame(columns)

    return Trial(drawn, float("nan"), seconds)


_DEFAULT_SECONDS: dict[int, float] = {}


# The remedies.


def remedies(core: Path) -> dict[str, Callable[[Split, int], Trial]]:
    """Return what is trained, by name."""

    def chances(column: str, power: float = 1.0) -> Callable[[Split], Floats]:
        return lambda split: inverse_frequency(split, column, power)

    changes = {
        "N(0, I) as prior": Change(prior="standard"),
        "flow as prior": Change(prior="flow"),
        "rows by 1 / frequency of metals": Change(chances=chances("metals")),
        "rows by 1 / frequency of linkers": Change(chances=chances("linkers")),
        "rows by 1 / root of it": Change(chances=chances("linkers", 0.5)),
        "free bits, .1 nat": Change(free_bits=0.1),
        "free bits, .25 nat": Change(free_bits=0.25),
        "diversity reward .3": Change(diversity=0.3),
        "diversity reward 1": Change(diversity=1.0),
        "separate decoders": Change(separate=True),
        "supercells": Change(versions=partial(versions, kind="supercell")),
        "thermal expansion": Change(versions=partial(versions, kind="thermal")),
    }
    found = {name: partial(changed, change) for name, change in changes.items()}
    found["pre-trained on CoRE 2019"] = partial(fine_tuned, core, False)
    found["pre-trained, conditions anew"] = partial(fine_tuned, core, True)
    found["diffusion, equal time"] = partial(diffusion, 1.0)
    found["diffusion, 4 times"] = partial(diffusion, 4.0)
    return found


OPTIONS: dict[str, tuple[Any, ...]] = {
    "balance .5": (SamplingOptions(balance=0.5), 0.0),
    "balance 1": (SamplingOptions(balance=1.0), 0.0),
    "by combinations alone": (SamplingOptions(balance=1.0), 0.0, (1.0, 0.0)),
    "by both alike": (SamplingOptions(balance=1.0), 0.0, (1.0, 1.0)),
    "temperature 1.5": (SamplingOptions(temperature=1.5), 0.0),
    "temperature 2": (SamplingOptions(temperature=2.0), 0.0),
    "temperature 1.5, balance 1": (SamplingOptions(temperature=1.5, balance=1.0), 0.0),
    "logit adjustment .5": (AS_TRAINED, 0.5),
    "logit adjustment 1": (AS_TRAINED, 1.0),
    "temperature 1.5, logit adjustment 1": (SamplingOptions(temperature=1.5), 1.0),
    "temperature 2, logit adjustment 1": (SamplingOptions(temperature=2.0), 1.0),
}
"""How the default draws: options, the power of a logit adjustment, and those of balance."""


def measure(split: Split, judge: FrameworkModel, made: Trial, seed: int) -> dict[str, Any]:
    """Figures of one trial; ``judge`` has surrogates of families that no trial has seen."""
    train, test = split.rows("train"), split.rows("test")
    rows = made.draw(DRAWS, {}, seed)
    found = {name: one["value"] for name, one in evaluate(train, test, rows).items()}
    # Balance keeps some of 100,000 rows: the fewer it keeps, the rarer they are.
    some = rows if made.at_once == DRAWS else made.draw(made.at_once, {}, seed + 1)
    found |= {name: one["value"] for name, one in of_fifty(train, some, seed).items()}
    for name in judge.condition_names if made.asked else ():
        low, high = judge.schema.numeric[name].usual or (0.0, 1.0)
        asked = np.linspace(low + 0.05 * (high - low), high - 0.05 * (high - low), REQUESTS)
        drawn = [
            made.draw(EACH, {name: value}, 1_000 * seed + turn)
            for turn, value in enumerate(asked.tolist())
        ]
        rows = pl.concat(drawn).drop(judge.condition_names, strict=False)
        predicted = judge.predict(rows, judge.condition_names)[f"{name}_predicted"]
        # Rows whose metals no row of CRAFTED has cannot be predicted.
        known = np.isfinite(predicted)
        rank = spearmanr(np.repeat(asked, EACH)[known], predicted[known])[0]
        found[f"asked, {name}"] = float(rank)
    return found | {"bound": made.bound, "seconds": made.seconds}


FIGURES = {
    "TVD of metals": ("metals", 3),
    "over real": ("pairs over real", 3),
    "over real, triples": ("triples over real", 3),
    "over real, numbers": ("numbers over real", 3),
    "new held-out found, 10,000": ("new found", 3),
    "U/E[U] at 50": ("U/E[U]", 3),
    "distinct of 50": ("distinct of 50", 1),
    "tail members in 50": ("tail in 50", 3),
    "asked, co2_uptake": ("asked CO2", 2),
    "asked, void_fraction": ("asked void", 2),
    "bound": ("bound", 2),
    "seconds": ("seconds", 0),
}


EXPLAINED = f"""
`frameworks/default` and what is changed in it, on the same {SPLITS} splits by family, stopped
early after {PATIENCE} epochs without gain (half of the recipe's) for all alike. Mean and
standard deviation over splits, one model for each; bold where the difference from the default
on the same splits is more than twice its standard deviation over splits. {DRAWS:,} draws of
each; metals, pairs, triples, numbers, U/E[U], new found and the tail are what
`frameworks_baselines.md` and `frameworks_models.md` say.

- Metals is the total variation from held-out rows; pairs, triples and numbers are over that of
  real rows, so 1 is as good as real ones; new found is the share of the combinations that only
  held-out families have; tail in 50 are the metals and linkers of one or two training rows in
  50 draws.
- Asked: Spearman correlation of {REQUESTS} values asked for, {EACH} rows each, with what trees
  predict that are fitted on families which no generator has seen; of pre-trained models without
  rows of metals that CRAFTED lacks.
- Bound: importance-weighted bound ({SAMPLES} samples) on the log-likelihood of held-out rows,
  nats per row, of the linkers and nets that training rows have. Seconds are of one core,
  training only.
- Balance and temperature are the options of `variolite generate`: rows are chosen among 100,000,
  the 10,000 for the distributions, and for distinct and tail in 50 {ROUND:,}, as that command
  does. Balance 1 chooses by one over how often a combination is drawn times the root of how often
  its rarest member is; the two rows below are other powers of the two. The root was chosen on
  these splits. Logit adjustment (A. Menon et al., 2021) divides every category by how often it is
  drawn, one column at a time.
- Rows by 1 / frequency: training rows are drawn by the mean over their members of one over how
  many rows hold it, and so is the prior.
- Free bits: KL that every latent has for nothing. Diversity reward: of a nat of entropy of what
  a batch decodes to. Separate decoders: metals with nodes, linkers, and numbers with nets, as
  many weights.
- Supercells: a row or one of its cells doubled along one axis, in Niggli form, extensive
  columns doubled. Thermal expansion: a row or one of eight versions of it, cells 2 % larger or
  smaller, angles off by half a degree, density and pores by as much. Priors are of the rows as
  they are.
- Pre-training: 40 epochs on CoRE MOF 2019 and the training rows, then on the training rows. No
  validation or held-out family is among them. Linkers of two rows of CoRE enter the vocabulary.
  Conditions anew: the weights of conditions are zero before the second training. The prior is
  fitted to CRAFTED alone.
- Diffusion: masked diffusion of categories with flow matching of numbers, for as many seconds.
"""


def summary(records: list[dict[str, Any]]) -> list[str]:
    """Lay out means over splits with standard deviations, a row for each remedy."""
    names = list(dict.fromkeys(record["remedy"] for record in records))

    def per_split(name: str, figure: str) -> Floats:
        splits = sorted({r["split"] for r in records})
        values = [
            [r.get(figure) for r in records if (r["remedy"], r["split"]) == (name, s)]
            for s in splits
        ]
        none = float("nan")
        return np.array([np.mean([none if v is None else v for v in some]) for some in values])

    rows = []
    for name in names:
        cells = [name]
        for figure, (_, digits) in FIGURES.items():
            own, beside = per_split(name, figure), per_split(DEFAULT, figure)
            if not np.isfinite(own).all():
                cells.append("")
                continue
            apart = own - beside
            spread = apart.std(ddof=1) if len(apart) > 1 else np.inf
            clear = name != DEFAULT and abs(apart.mean()) > 2.0 * spread
            mark = "**" if clear and figure != "seconds" else ""
            deviation = f" ± {own.std(ddof=1):.{digits}f}" if len(own) > 1 else ""
            cells.append(f"{mark}{own.mean():.{digits}f}{mark}{deviation}")
        rows.append(cells)
    return table(["mean ± sd over splits", *(head for head, _ in FIGURES.values())], rows)


def trials(
    core: Path, split: Split, seed: int, wanted: Callable[[str], bool]
) -> Iterator[tuple[str, Trial]]:
    """Yield what is wanted of one split: the default, its options, then what is trained."""
    began = time.process_time()
    model = fit(split, seed, Change())
    seconds = time.process_time() - began
    _DEFAULT_SECONDS[split.seed] = seconds
    whole = with_prior(split, model, Change(), seed)
    for name, options in {DEFAULT: (AS_TRAINED, 0.0), **OPTIONS}.items():
        if wanted(name):
            yield name, trial(split, whole, seconds, *options)
    for name, make in remedies(core).items():
        if wanted(name):
            yield name, make(split, seed)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--core", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    only = arguments.only
    del arguments.only
    made = provenance(command("benchmarks.frameworks.remedies", arguments), ("torch", "polars"))
    lines = arguments.records.read_text().splitlines() if arguments.records.exists() else []
    records = [json.loads(line) for line in lines]
    order = [DEFAULT, *OPTIONS, *remedies(arguments.core)]
    for seed in range(arguments.seeds):
        for number in range(SPLITS):

            def wanted(name: str, at: tuple[int, int] = (number, seed)) -> bool:
                known = {r["remedy"] for r in records if (r["split"], r["seed"]) == at}
                return name not in known and (not only or any(part in name for part in only))

            if not any(map(wanted, order)):
                continue
            split = Split.of(arguments.data, number)
            judge = reference(split)
            for name, one in trials(arguments.core, split, seed, wanted):
                found = {"remedy": name, "split": number, "seed": seed}
                found = plain(found | measure(split, judge, one, seed))
                records.append(found)
                with arguments.records.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(name, number, seed, f"{one.seconds:.0f} s", flush=True)
    records.sort(key=lambda r: (order.index(r["remedy"]), r["split"], r["seed"]))
    write_page(
        arguments.results / "frameworks_remedies",
        "Frameworks: remedies against lost tails, and augmentation",
        [*EXPLAINED.strip().splitlines(), "", *summary(records)],
        {"records": records},
        made,
    )


if __name__ == "__main__":
    main()
