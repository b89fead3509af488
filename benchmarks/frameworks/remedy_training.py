"""Changes to training and priors that `benchmarks.frameworks.remedies` compares.

Each is the smallest honest form of a remedy that was proposed against lost tails, on the default
recipe; without a change `fit` trains what `variolite.training.fit_tabular` trains.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from benchmarks.frameworks.crafted import core_table, load
from numpy.typing import NDArray
from pymatgen.core import Lattice
from torch import Tensor
from torch.nn.functional import mse_loss

from variolite.crystals.crystals import cell_parameters, lattices_from_parameters
from variolite.crystals.generation.flow import integrate
from variolite.frameworks.columns import CELL
from variolite.frameworks.columns import split as split_set
from variolite.frameworks.framework_table import SHAPE, cell_shape, read_frameworks
from variolite.frameworks.generation.framework_model import (
    FrameworkModel,
    complete,
    member_features,
)
from variolite.frameworks.generation.latent_prior import LatentPrior
from variolite.frameworks.recipe import FrameworkRecipe
from variolite.progress import Progress
from variolite.recipe import ConstantBeta, TrainingSpec, load_recipe
from variolite.records import Records
from variolite.training.device import single_thread
from variolite.training.loop import Validation, minimise, train
from variolite.training.optimiser import step_factor
from variolite.training.row_batches import Member, TrainingBatches, evaluation_batches
from variolite.training.run import Prepared, prepare
from variolite.training.tabular import TabularModel
from variolite.training.tabular_fit import architecture_for, members_for
from variolite.vae import Batch, Joint, LossTerms, TabularModule
from variolite.vae.layers import Stack
from variolite.vae.sets import SIZE, Members

Floats = NDArray[np.float64]

PATIENCE = 15  # epochs, half of that of the recipe, for all alike


@dataclass(frozen=True)
class Split:
    """One split of the table, by recipe: what is trained on, and what it is measured on."""

    recipe: FrameworkRecipe
    path: Path
    seed: int

    @cached_property
    def prepared(self) -> Prepared:
        """Records and fitted schema."""
        return prepare(self.recipe, self.path, load=read_frameworks)

    @cached_property
    def features(self) -> Any:
        """Features of linkers and nodes."""
        return member_features(self.prepared.schema)

    @cached_property
    def table(self) -> pl.DataFrame:
        """All rows, with families and the numbers of cells."""
        return read_frameworks(self.path).frame

    def rows(self, part: str) -> pl.DataFrame:
        """Rows with metal and linkers of ``train`` or ``test``, as generators are compared on."""
        families = getattr(self.prepared.split, part)
        return load(self.path).filter(pl.col("family").is_in(list(families)))

    @classmethod
    def of(cls, path: Path, seed: int) -> Split:
        """Return the split of a seed for the default recipe."""
        changes = [f"split.seed={seed}", f"training.patience={PATIENCE}"]
        return cls(load_recipe("frameworks/default", changes, FrameworkRecipe), path, seed)


@dataclass(frozen=True)
class Change:
    """What is changed in training.

    ``free_bits`` are the nats that a latent has for nothing (D. Kingma et al., 2016);
    ``diversity`` is the reward of a nat of entropy of what a batch decodes to, over categories
    and first members; ``separate`` gives metals with nodes, linkers, and numbers with nets
    decoders of their own; ``chances`` says how often rows are drawn, and ``versions`` are of
    the same rows, one of which is drawn each time; ``start`` are weights.
    """

    free_bits: float = 0.0
    diversity: float = 0.0
    separate: bool = False
    chances: Callable[[Split], Floats] | None = None
    versions: Callable[[Split], list[Records]] | None = None
    prior: str = "mixture"
    start: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class _Epochs:
    """Batches of rows that are drawn anew every epoch: by chance, or one version of each."""

    rows: Batch
    count: int
    members: Sequence[Member]
    size: int
    chances: Tensor | None

    def epoch(self, number: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(1_000_003 * self.members[0].seed + number)
        if self.chances is not None:
            chosen = self.chances.multinomial(self.count, replacement=True, generator=random)
        else:
            version = torch.randint(len(self.rows) // self.count, (self.count,), generator=random)
            chosen = torch.arange(self.count) + self.count * version
        rows = self.rows.gather(chosen.unsqueeze(0), torch.empty(0))
        yield from TrainingBatches(rows, self.members, self.size, dropout=False).epoch(number)


def fit(split: Split, seed: int, change: Change, spec: TrainingSpec | None = None) -> TabularModel:
    """Train one model with a change."""
    made, shape = split.prepared, split.recipe.model
    spec = (spec or split.recipe.training).model_copy(update={"seed": seed})
    training, validation = made.part("train"), made.part("validation")
    if change.separate:
        shape = shape.model_copy(update={"decoder": (3 * OWN, 3 * OWN)})
    members = members_for(spec, shape)
    sizes = architecture_for(made.schema, training, shape, shape.latent, split.features)
    module = TabularModule(sizes, seed)
    for name, column in zip(made.schema.set_names, module.set_columns, strict=True):
        if name in split.features:
            column.features.copy_(torch.from_numpy(split.features[name]))
    module.load_state_dict(dict(change.start), strict=bool(change.start))
    if change.separate:
        separate(module)
    assert isinstance(spec.batch_size, int)
    assert isinstance(spec.learning_rate, float)
    rows = Batch.of(training, torch.device("cpu"))
    source: Any = TrainingBatches(rows, members, spec.batch_size, dropout=False)
    if change.chances is not None:
        chances = torch.from_numpy(change.chances(split))
        source = _Epochs(rows, len(rows), members, spec.batch_size, chances)
    if change.versions is not None:
        parts = [Batch.of(version, torch.device("cpu")) for version in change.versions(split)]
        source = _Epochs(_joined(parts), len(rows), members, spec.batch_size, None)
    held = Batch.of(validation, torch.device("cpu"))
    with single_thread(0):
        train(
            module,
            lambda batch, beta: objective(module, change, batch, beta),
            source.epoch,
            lambda: _validate(module, held, members),
            spec,
            learning_rate=spec.learning_rate,
            betas=[1.0],
        )
    return TabularModel(made.schema, module.eval(), members)


def _joined(parts: Sequence[Batch]) -> Batch:
    def join(values: Sequence[Tensor | None]) -> Tensor | None:
        known = [value for value in values if value is not None]
        return torch.cat(known, dim=1) if known else None

    numeric = join([part.numeric for part in parts])
    assert numeric is not None
    observed = [
        torch.ones_like(part.numeric, dtype=torch.bool) if part.observed is None else part.observed
        for part in parts
    ]
    return Batch(
        numeric,
        join(observed),
        join([part.category for part in parts]),
        join([part.condition for part in parts]),
        sets=tuple(torch.cat(some, dim=1) for some in zip(*(p.sets for p in parts), strict=True)),
    )


def _validate(module: TabularModule, rows: Batch, members: Sequence[Member]) -> Validation:
    (batch,) = evaluation_batches(rows, members)
    posterior = module.infer(batch)
    terms = module.loss(batch, torch.ones(1), posterior)
    active = (posterior.kl_per_dimension().mean(dim=1) > 0.01).sum(1)
    return Validation(terms.reconstruction, terms.kl, active)


def objective(module: TabularModule, change: Change, batch: Batch, beta: Tensor) -> LossTerms:
    """Negative evidence lower bound with free bits and a reward of diversity."""
    posterior = module.infer(batch)
    z, kl = posterior.draw(batch.noise)
    likelihood = module.generate(z, batch.condition)
    found = likelihood.log_prob(batch.numeric, batch.observed, batch.category, batch.sets)
    reconstruction, mean_kl = -found.mean(dim=1), kl.mean(dim=1)
    charged = mean_kl
    if change.free_bits:
        per_latent = posterior.kl_per_dimension().mean(dim=1)
        charged = per_latent.clamp(min=change.free_bits).sum(dim=1)
    total = reconstruction + beta * charged
    if change.diversity:
        total = total - change.diversity * entropy(likelihood)
    return LossTerms(total, reconstruction, mean_kl)


def entropy(likelihood: Joint) -> Tensor:
    """Entropy of the mean over rows of categories and first members, nats, summed over columns."""
    means = [category.mean.mean(dim=1) for category in likelihood.categories]
    means += [torch.softmax(first(members), dim=-1).mean(dim=1) for members in likelihood.sets]
    return torch.stack([-(p * p.clamp(min=1e-12).log()).sum(dim=-1) for p in means]).sum(0)


def first(members: Members) -> Tensor:
    """Logits of each member to be drawn first, (M, B, levels)."""
    return members._logits(members.query, torch.zeros(members.query.shape[1], dtype=torch.int64))[0]


OWN = 43  # hidden units of each of three decoders: as many weights as one of 64


def separate(module: TabularModule) -> None:
    """Cut a decoder of 3 x `OWN` hidden units into three, by weights that are and stay zero."""
    a = module.architecture
    hidden = torch.arange(3 * OWN) // OWN
    # Outputs in order: numbers and nets, metals, linkers, nodes. Nodes hold the metals.
    widths = [a.numeric_outputs + sum(a.category_levels), *[SIZE] * len(a.sets)]
    outputs = torch.repeat_interleave(torch.tensor([0, 1, 2, 1]), torch.tensor(widths))
    for layer, ends in zip(list(module.decoder.layers)[1:], (hidden, outputs), strict=True):
        mask = (hidden[:, None] == ends).float().unsqueeze(0)
        weight = layer.weight
        assert isinstance(weight, Tensor)
        weight.data.mul_(mask)
        weight.register_hook(lambda gradient, mask=mask: gradient * mask)


# Priors.


class FlowPrior:
    """Latents given conditions by flow matching; conditions as the mixture draws them."""

    def __init__(self, mixture: LatentPrior, mean: Floats, log_variance: Floats, given: Floats):
        self.mixture = mixture
        self.scale = np.sqrt(mean.var(axis=0) + np.exp(log_variance).mean(axis=0))
        self.centre = mean.mean(axis=0)
        self.mean, self.given = mean, given
        self.deviation = np.exp(0.5 * log_variance)
        sizes = (mean.shape[1] + given.shape[1] + 2 * _WAVES, 64, 64, mean.shape[1])
        generator = torch.Generator().manual_seed(0)
        self.network = Stack(sizes, norm="layer", dropout=0.0, generator=generator)

    def velocity(self, z: Tensor, at: Tensor, given: Tensor) -> Tensor:
        """Velocities (n, L) of points (n, L) at times () or (n, 1)."""
        angles = at.expand(len(z), 1) * torch.arange(1, _WAVES + 1) * torch.pi
        parts = [z, given, angles.sin(), angles.cos()]
        out: Tensor = self.network(torch.cat(parts, dim=1).unsqueeze(0))[0]
        return out

    def fit(self, held: tuple[Floats, Floats, Floats], seed: int, epochs: int = 400) -> FlowPrior:
        """Train; posteriors of validation rows choose the epoch."""
        rows = (self.mean, self.deviation, self.given)
        size = 128

        def loss(of: tuple[Floats, Floats, Floats], number: int) -> Tensor:
            random = np.random.default_rng([seed, number])
            mean, deviation, given = of
            noise = random.standard_normal((2, *mean.shape))
            z = (mean + deviation * noise[0] - self.centre) / self.scale
            end, start = (torch.from_numpy(v.astype(np.float32)) for v in (z, noise[1]))
            at = torch.from_numpy(random.random((len(mean), 1)).astype(np.float32))
            known = torch.from_numpy(given.astype(np.float32))
            found = self.velocity(torch.lerp(start, end, at), at, known)
            return mse_loss(found, end - start).view(1)

        def batches(epoch: int) -> Iterator[tuple[tuple[Floats, Floats, Floats], int]]:
            order = np.random.default_rng([seed, epoch, 1]).permutation(len(self.mean))
            for step in range(len(order) // size):
                chosen = order[step * size : (step + 1) * size]
                yield tuple(v[chosen] for v in rows), 1_000 * epoch + step  # type: ignore[misc]

        steps = epochs * (len(self.mean) // size)
        validation = tuple(np.concatenate([part] * 8) for part in held)
        minimise(
            self.network,
            lambda batch: loss(*batch),
            batches,
            lambda: loss(validation, -1 % 2**31),  # type: ignore[arg-type]
            epochs=epochs,
            learning_rate=3e-3,
            step_factor=lambda step: step_factor(step, steps, 50),
            average=0.99,
            checks=20,
        )
        return self

    @torch.no_grad()
    def sample(
        self, count: int, given: Mapping[int, float], random: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Draw latents (n, L) and conditions (n, k) as `LatentPrior.sample` does."""
        conditions = self.mixture.sample(count, given, random)[1]
        known = torch.from_numpy(conditions.astype(np.float32))
        noise = random.standard_normal((count, len(self.centre))).astype(np.float32)
        z = integrate(lambda z, at: self.velocity(z, at, known), torch.from_numpy(noise), 20)
        return self.centre + self.scale * z.double().numpy(), conditions


_WAVES = 4  # sines and cosines of the time


def with_prior(split: Split, model: TabularModel, change: Change, seed: int) -> FrameworkModel:
    """Give a model its prior, fitted to rows as often as they were trained on."""
    whole = FrameworkModel(model.schema, model.module, model.members)
    if change.prior == "standard":
        return whole
    training = split.prepared.part("train")
    if change.chances is not None:
        random = np.random.default_rng([seed, 3])
        training = training.take(
            random.choice(len(training), len(training), p=change.chances(split))
        )
    numbers = len(whole.condition_names)

    def posterior(records: Records) -> tuple[Floats, Floats, Floats]:
        mean, log_variance = (part[0] for part in model.posterior(records))
        return mean, log_variance, records.condition[:, :numbers].astype(np.float64)

    mean, log_variance, given = posterior(training)
    prior: Any = LatentPrior.fit(mean, log_variance, given, seed)
    if change.prior == "flow":
        held, spread, known = posterior(split.prepared.part("validation"))
        flow = FlowPrior(prior, mean, log_variance, given)
        prior = flow.fit((held, np.exp(0.5 * spread), known), seed)
    return replace(whole, priors=(prior,))


def reference(split: Split) -> FrameworkModel:
    """Train the default; its surrogates, of other families, predict for all remedies."""
    model = fit(split, split.recipe.training.seed, Change())
    return complete(model, split.prepared, prior=True, progress=Progress())


# Balance in training: how often rows are drawn.


def inverse_frequency(split: Split, column: str, power: float) -> Floats:
    """Chances of training rows: the mean over members of one over how many rows hold them."""
    codes = split.prepared.part("train").sets[column]
    counts = np.bincount(codes[codes >= 0])
    known = codes >= 0
    weights = np.where(known, 1.0 / np.maximum(counts[np.maximum(codes, 0)], 1), 0.0)
    # A row without a member counts as a member of all rows.
    mean = np.where(
        known.any(axis=1), weights.sum(axis=1) / np.maximum(known.sum(axis=1), 1), 1.0 / len(codes)
    )
    chances: Floats = mean**power / np.sum(mean**power)
    return chances


# Augmentation: versions of the same rows.


def supercell(rows: pl.DataFrame, axis: int, times: int = 2) -> pl.DataFrame:
    """Multiply the cells of rows along one axis, and reduce them to their Niggli form.

    Volume and atoms grow by as much; all else is by gram, by volume, or a length of pores.
    """
    lattices = lattices_from_parameters(rows.select(CELL).to_numpy())
    lattices[:, axis] *= times
    reduced = [Lattice(one).get_niggli_reduced_lattice().matrix for one in lattices]
    grown = rows.with_columns(pl.col("volume") * times, pl.col("atoms") * times)
    return _with_cells(grown, cell_parameters(np.array(reduced)))


def expanded(rows: pl.DataFrame, seed: int, sd: float = 0.02, jitter: float = 0.5) -> pl.DataFrame:
    """Expand cells by a normal share ``sd``, and shift angles by ``jitter`` degrees.

    Atoms keep their size: density falls by as much as the volume grows, empty space grows by as
    much as there is more of it, areas go with the square, widths of pores with the length.
    """
    random = np.random.default_rng([seed, 4])
    cells = rows.select(CELL).to_numpy().copy()
    cells[:, :3] *= np.exp(sd * random.standard_normal((rows.height, 1)))
    cells[:, 3:] += jitter * random.standard_normal((rows.height, 3))
    grown = _with_cells(rows, cells)
    lattices = lattices_from_parameters(cells)
    volume = np.abs(np.linalg.det(lattices))
    more = pl.Series("more", volume / rows["volume"].to_numpy())
    return grown.with_columns(
        pl.Series("volume", volume),
        pl.col("density") / more,
        pl.col("packing_fraction") / more,
        pl.col("surface_area_mass") * more ** (2 / 3),
        pl.col("surface_area_volume") * more ** (-1 / 3),
        pl.col("largest_cavity_diameter", "pore_limiting_diameter") * more ** (1 / 3),
        void_fraction=1.0 - (1.0 - pl.col("void_fraction")) / more,
        # What is not accessible stays so.
        accessible_void_fraction=pl.when(pl.col("accessible_void_fraction") > 0.0)
        .then(1.0 - (1.0 - pl.col("accessible_void_fraction")) / more)
        .otherwise(pl.col("accessible_void_fraction")),
        pore_volume=pl.when(pl.col("pore_volume") > 0.0)
        .then(pl.col("pore_volume") + (more - 1.0) / pl.col("density"))
        .otherwise(pl.col("pore_volume")),
    )


def _with_cells(rows: pl.DataFrame, cells: Floats) -> pl.DataFrame:
    shape = cell_shape(cells)
    return rows.with_columns(
        *(pl.Series(name, values) for name, values in zip(CELL, cells.T, strict=True)),
        *(pl.Series(name, values) for name, values in zip(SHAPE, shape.T, strict=True)),
    )


def versions(split: Split, kind: str) -> list[Records]:
    """Training rows as they are, and as supercells along each axis or expanded."""
    training = split.prepared.part("train")
    rows = split.table[training.row]
    changed = (
        [supercell(rows, axis) for axis in range(3)]
        if kind == "supercell"
        else [expanded(rows, number) for number in range(8)]
    )
    records = [split.prepared.schema.apply(table) for table in changed]
    assert all(len(one) == len(training) for one in records)
    return [training, *records]


# Pre-training on CoRE MOF 2019.

COMMON = 2  # rows of CoRE that a linker or net needs to enter the vocabulary


def core_rows(path: Path, split: Split) -> pl.DataFrame:
    """Rows of CoRE of no validation or test family of the split, in the columns of both tables.

    Its uptakes are at .15 bar: they take the values at 1 bar of the same rank, as only their
    order is known to be alike.
    """
    groups = split.prepared.split
    rows = core_table(path).filter(
        ~pl.col("family").is_in([*groups.validation, *groups.test]),
        pl.col("void_fraction").is_not_null() & pl.col("co2_uptake").is_not_null(),
    )
    own = split.rows("train")
    for name in ("linkers", "net"):
        counts = Counter(m for cell in rows[name].drop_nulls() for m in split_set(cell))
        known = {m for cell in own[name].drop_nulls() for m in split_set(cell)}
        known |= {m for m, count in counts.items() if count >= COMMON}
        cells = [c if c and set(split_set(c)) <= known else None for c in rows[name]]
        rows = rows.with_columns(pl.Series(name, cells, dtype=pl.String))
    share = (rows["co2_uptake"].rank("average").to_numpy() - 0.5) / rows.height
    uptakes = np.quantile(own["co2_uptake"].to_numpy(), share)
    return rows.with_columns(pl.Series("co2_uptake", uptakes), family="core " + pl.col("family"))


def pretrained(core: Path, split: Split, folder: Path) -> tuple[Split, Change, float]:
    """Train on CoRE and the training rows; the split with the joint vocabulary, and the weights."""
    began = time.process_time()
    both = folder / f"both_{split.seed}.parquet"
    rows = core_rows(core, split)
    pl.concat([split.table, rows], how="diagonal").write_parquet(both)
    groups = split.prepared.split
    joint = Split(split.recipe, both, split.seed)
    whole = replace(groups, train=(*groups.train, *sorted(set(rows["family"]))))
    made = prepare(split.recipe, both, load=read_frameworks, split=whole)
    # Numbers are scaled as for CRAFTED alone, so that likelihoods can be compared.
    schema = replace(made.schema, numeric=split.prepared.schema.numeric)
    records = schema.apply(joint.table)
    records = replace(records, group=joint.table["family"].to_numpy()[records.row])
    made = replace(made, schema=schema, records=records)
    joint.__dict__["prepared"] = made
    spec = split.recipe.training.model_copy(
        update={"epochs": 40, "batch_size": 128, "patience": 10}
    )
    spec = spec.model_copy(update={"beta": spec.beta.model_copy(update={"epochs": 15})})
    model = fit(joint, 0, Change(), spec)
    # From here on, CRAFTED alone, with the vocabulary of both.
    joint.__dict__["prepared"] = replace(made, split=groups)
    change = Change(start={n: v.clone() for n, v in model.module.state_dict().items()})
    return joint, change, time.process_time() - began


def without_conditions(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the default with those from its two conditions to encoder and decoder at zero."""
    found = {name: value.clone() for name, value in weights.items()}
    for part in ("encoder", "decoder"):
        found[f"{part}.layers.0.weight"][:, -2:] = 0.0  # (members, inputs, outputs)
    return found


def fine_tuning(split: Split) -> TrainingSpec:
    """Settings for the rows of CRAFTED after pre-training."""
    changed = {"beta": ConstantBeta(value=1.0), "learning_rate": 1e-3}
    return split.recipe.training.model_copy(update=changed)
