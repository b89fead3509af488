"""Tabular models: trained on records, used in the user's own units, and kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter
from torch import Tensor

from variolite.errors import TrainingError
from variolite.recipe import MaskingSpec, ModelSpec, TrainingSpec
from variolite.records import (
    FittedSchema,
    Records,
    Split,
    Table,
    group_spellings,
    load_table,
    spellings,
)
from variolite.training.device import choose_device, single_thread
from variolite.training.group_shift import GroupShift
from variolite.training.loop import Resume, Trained, Validation, train
from variolite.training.row_batches import Masking, Member, TrainingBatches, evaluation_batches
from variolite.training.row_sampling import AS_TRAINED, SamplingOptions, draw_rows
from variolite.training.storage import (
    EpochRecord,
    module_with,
    read_description,
    read_weights,
    reading_model,
    write_signed,
)
from variolite.vae import (
    AnalyticStep,
    Architecture,
    Batch,
    Likelihood,
    TabularModule,
    blank,
    stack,
    supports,
)
from variolite.vae import member as take_member
from variolite.vae.distributions import prior_log_prob
from variolite.vae.sets import SetShape

ACTIVE_NATS = 0.01  # mean KL above which a latent dimension counts as active
Array = NDArray[np.float64]


@dataclass(frozen=True)
class TabularModel:
    """One or several trained members, the network in evaluation mode.

    Arrays that come out have a leading members axis M; rows keep their order. ``provenance`` is
    JSON-able. ``groups`` are the normalised names of the groups trained on and validated with,
    None where there were none or an old file does not say. ``shift`` takes what is common to all
    rows of a group from them before the network, where the recipe asks for it.
    """

    schema: FittedSchema
    module: TabularModule
    members: tuple[Member, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    groups: Split | None = None
    shift: GroupShift | None = None

    def only(self, index: int) -> TabularModel:
        """Return one member as a model of its own."""
        chosen = self.members[index]
        module = take_member(self.module, index, chosen.latent).eval()
        return replace(self, module=module, members=(chosen,))

    def records(
        self, data: Any, mapping: Mapping[str, str] | None = None, *, accept_range: bool = False
    ) -> Records:
        """Make records of a path or table with the schema of this model.

        DataError where most values of a log are outside the training range, without
        ``accept_range``.
        """
        table = self.table(data, mapping)
        return self.schema.apply(table, mapping=mapping or None, accept_range=accept_range)

    def table(self, data: Any, mapping: Mapping[str, str] | None = None) -> Table:
        """Read a path or table as `records` does."""
        schema = self.schema.schema
        text = group_spellings(schema, mapping)
        return load_table(data, text=text, nulls=schema.nulls, schema=schema, mapping=mapping)

    def reading(self, *, rows: str | None = None, null: Sequence[str] = ()) -> TabularModel:
        """Return the model with another condition on rows, and with more spellings of missing."""
        schema, update = self.schema.schema, dict[str, Any]()
        if rows is not None:
            update["rows"] = rows or None
        if null:
            update["nulls"] = (*schema.nulls, *null)
        return replace(self, schema=replace(self.schema, schema=schema.model_copy(update=update)))

    def posterior(self, records: Records) -> tuple[Array, Array]:
        """Posterior means and log-variances, each of shape (M, n, L)."""
        found = [self.module.infer(batch) for batch in self._batches(records)]
        means = _joined([part.mean for part in found])
        return means, _joined([part.clamped_log_variance for part in found])

    def encode(self, records: Records) -> Array:
        """Posterior means, shape (M, n, L): deterministic, no sampling."""
        return self.posterior(records)[0]

    def reconstruct(self, records: Records) -> Array:
        """Numeric columns decoded at the posterior mean, original units, (M, n, D).

        The transforms are monotone, so that the centre of a symmetric likelihood becomes the
        *median* in original units.
        """
        if not self.module.architecture.numeric:
            return np.empty((len(self.members), len(records), 0))
        centres = []
        for batch in self._batches(records):
            numeric = self.module.generate(self.module.infer(batch).mean, batch.condition).numeric
            assert numeric is not None
            centres.append(numeric.mean)
        return self.inverse(_joined(centres), records)

    def inverse(self, values: Array, records: Records) -> Array:
        """Return what the network gives for some rows, (M, n, D), in original units."""
        if self.shift is not None:
            values = values + self.shift.shifts(records)
        return self.schema.inverse(values)

    def prepared(self, records: Records) -> Records:
        """Return records as the network takes them, in training and ever after.

        Less the shift of their group, and with depth context where the network sees it.
        """
        records = records if self.shift is None else self.shift.removed(records)
        context = self.module.architecture.context
        return records if context is None else replace(records, context=context.of(records))

    def most_likely(self, records: Records, *, member: int = 0) -> dict[str, NDArray[Any]]:
        """Categories and sets decoded at the posterior mean of one member, (n,) by column."""
        alone, found = self.only(member), list[dict[str, NDArray[Any]]]()
        for batch in alone._batches(records):
            z = alone.module.infer(batch).mean
            # As cold as this the most likely level is all that is drawn.
            drawn = draw_rows(
                self.schema,
                replace(alone.module.generate(z, batch.condition), numeric=None),
                torch.Generator().manual_seed(0),
                SamplingOptions(temperature=1e-4),
            )
            found.append(drawn)
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def evidence(self, records: Records, *, samples: int = 1, seed: int = 0) -> Array:
        """Bound on the log-likelihood of every row in original units, nats, (M, n).

        One sample gives the evidence lower bound; more give the importance-weighted bound of
        Burda et al. (2016), which is tighter. The noise of ``seed`` is the same for a member
        alone and beside others.
        """
        if samples < 1:
            raise TrainingError(f"{samples} samples were asked for", hint="ask for 1 at least")
        rows = []
        sources = [torch.Generator().manual_seed(seed) for _ in self.members]
        for batch in self._batches(records):
            posterior = self.module.infer(batch)
            bounds = []
            for _ in range(samples):
                noise = self._noise(posterior.mean.shape[1], sources).to(posterior.mean.device)
                z, kl = posterior.draw(noise)
                likelihood = self.module.generate(z, batch.condition)
                log_p = likelihood.log_prob(
                    batch.numeric, batch.observed, batch.category, batch.sets
                )
                if samples == 1:
                    # The KL in closed form has less variance than log q(z) - log p(z).
                    bounds.append(log_p - kl)
                else:
                    # Padded dimensions have z = noise = 0 on both sides and cancel.
                    log_p = log_p + prior_log_prob(z)
                    bounds.append(log_p - posterior.log_prob(z))
            rows.append(torch.logsumexp(torch.stack(bounds), dim=0) - float(np.log(samples)))
        # The densities are of transformed values; the log-determinant brings them back.
        bound: Array = _joined(rows) + records.log_det.sum(axis=1)
        return bound

    def sample(
        self,
        count: int,
        *,
        seed: int = 0,
        member: int = 0,
        latents: ArrayLike | None = None,
        conditions: ArrayLike | None = None,
        options: SamplingOptions = AS_TRAINED,
    ) -> dict[str, NDArray[Any]]:
        """Draw rows from the prior and the likelihood: column to values (n,), original units.

        ``latents`` (n, L) are from N(0, I) by default, ``conditions`` (n, k), as `Records` holds
        them, zero: the training mean of a standardised numeric condition, and none of the levels
        of a category.
        """
        alone = self.only(member)
        module = alone.module.cpu()
        generator = torch.Generator().manual_seed(seed)
        shape = (1, count, module.architecture.latent)
        if latents is None:
            z = torch.randn(shape, generator=generator)
        else:
            z = torch.as_tensor(np.asarray(latents, dtype=np.float32)).view(shape)
        given = alone._no_condition(count)
        if given is not None and conditions is not None:
            given = torch.as_tensor(np.asarray(conditions, dtype=np.float32)).view(given.shape)
        with torch.no_grad(), single_thread(0):
            return draw_rows(self.schema, module.generate(z, given), generator, options)

    def noise(self) -> Array | None:
        """Decoder standard deviation per column in transformed units, (M, D); None by row."""
        a = self.module.architecture
        if a.variance == "row" or not a.numeric:
            return None
        # The same for every row, so that any latent point will do.
        z = torch.zeros((len(self.members), 1, a.latent), device=self._device)
        with torch.no_grad():
            numeric = self.module.generate(z, self._no_condition(1)).numeric
        assert numeric is not None
        return _joined([numeric.deviation])[:, 0]

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _no_condition(self, rows: int) -> Tensor | None:
        width = self.module.architecture.condition
        return torch.zeros((1, rows, width), device=self._device) if width else None

    def _batches(self, records: Records) -> Iterator[Batch]:
        with torch.no_grad():
            yield from Batch.of(self.prepared(records), self._device).chunks()

    def _noise(self, rows: int, sources: Sequence[torch.Generator]) -> Tensor:
        """Draw each member's noise for its own dimensions; those it lacks stay zero."""
        noise = torch.zeros((len(self.members), rows, self.module.architecture.latent))
        for block, member, source in zip(noise, self.members, sources, strict=True):
            block[:, : member.latent] = torch.randn((rows, member.latent), generator=source)
        return noise


def _joined(parts: list[Tensor]) -> Array:
    joined: Array = torch.cat(parts, dim=1).double().cpu().numpy()
    return joined


# The model file of a tabular VAE: tensors in safetensors, everything else in JSON.

FORMAT = 3
KIND = "variolite.tabular_vae"

_ARCHITECTURE = TypeAdapter(Architecture)
_MEMBERS = TypeAdapter(tuple[Member, ...])


def save_model(folder: Path, model: TabularModel) -> None:
    """Write a model into a folder; of the training rows, only the names of their groups."""
    write_signed(folder, KIND, FORMAT, description_of(model), model.module.state_dict())


def description_of(model: TabularModel) -> dict[str, Any]:
    """Return what a model file says beside the weights."""
    return {
        "architecture": _ARCHITECTURE.dump_python(model.module.architecture, mode="json"),
        "members": [asdict(member) for member in model.members],
        "schema": model.schema.to_dict(),
        "provenance": model.provenance,
        "groups": model.groups and model.groups.to_dict(),
        "shift": model.shift and model.shift.to_dict(),
    }


def load_model(folder: Path) -> TabularModel:
    """Read a model onto the CPU, whatever device it was trained on.

    Raises a ModelFileError if a file is missing, foreign, truncated, altered, or of a newer format.
    """
    with reading_model(folder):
        # A new format needs an entry that leads from the one before, and a fixture file of that.
        migrations = {
            1: lambda content: content | {"groups": None},
            2: lambda content: content | {"shift": None},
        }
        description = read_description(folder, KIND, FORMAT, migrations, "a tabular model")
        return model_from(description, read_weights(folder, description), folder)


def model_from(
    description: Mapping[str, Any], weights: dict[str, Tensor], folder: Path
) -> TabularModel:
    """Make a model of its description and weights, within `reading_model`."""
    members = _MEMBERS.validate_python(description["members"])
    architecture = _ARCHITECTURE.validate_python(description["architecture"])
    make = partial(blank, architecture, len(members))
    module = module_with(make, weights, folder).eval()
    schema = FittedSchema.from_dict(description["schema"])
    groups = description["groups"] and Split.from_dict(description["groups"])
    shift = description.get("shift")  # models of frameworks have formats of their own
    shift = shift and GroupShift.from_dict(shift)
    return TabularModel(schema, module, members, dict(description["provenance"]), groups, shift)


# From rows and a recipe to a trained model.


@dataclass(frozen=True)
class Fitted(Trained):
    """A model with the best weights of every member, and the settings that were used.

    ``device`` says which was chosen and why.
    """

    model: TabularModel
    device: str
    batch_size: int
    learning_rate: float


def auto_batch_size(rows: int) -> int:
    """About 170 steps an epoch: the power of two next to n / 170, within 32 to 2048."""
    return int(np.clip(2 ** round(np.log2(max(rows, 1) / 170.0)), 32, 2048))


def auto_rate(batch_size: int) -> float:
    """0.004 at 256 rows a step, growing with the root of the batch."""
    return float(0.004 * np.sqrt(batch_size / 256.0))


def members_for(spec: TrainingSpec, model: ModelSpec, *, seeds: int = 1) -> tuple[Member, ...]:
    """Members that differ in their seed, counted up from that of the recipe."""
    return tuple(Member(spec.seed + seed, beta=1.0, latent=model.latent) for seed in range(seeds))


Features = Mapping[str, NDArray[np.float32]]
"""Features of the members of set columns, (levels, F) by column."""


def architecture_for(
    schema: FittedSchema,
    records: Records,
    spec: ModelSpec,
    latent: int,
    features: Features | None = None,
    *,
    masked: bool = False,
) -> Architecture:
    """Sizes that follow from the data, choices that follow from the recipe.

    The encoder is told what is missing if anything is, or is ``masked`` in training.
    """
    features = features or {}
    return Architecture(
        # The column's own choice, else the recipe's; no numeric column can ask for categorical.
        likelihoods=tuple(
            cast(Likelihood, schema.schema.columns[n].likelihood or spec.likelihood)
            for n in schema.numeric_names
        ),
        category_levels=tuple(len(schema.category_levels[n]) for n in schema.category_names),
        sets=tuple(
            SetShape(
                len(schema.levels[n]),
                codes.shape[1],
                features[n].shape[1] if n in features else 0,
            )
            for n, codes in records.sets.items()
        ),
        condition=records.condition.shape[1],
        latent=latent,
        **spec.model_dump(include={"encoder", "decoder", "norm", "dropout", "variance"}),
        fixed_variance=0.25 if spec.sigma2 is None else spec.sigma2,
        mask_input=masked or not bool(records.observed.all()),
        context=spec.context,
    )


def fit_tabular(
    schema: FittedSchema,
    training: Records,
    validation: Records | None,
    model: ModelSpec,
    spec: TrainingSpec,
    members: Sequence[Member],
    *,
    features: Features | None = None,
    device: str = "auto",
    resume: Callable[[str], Resume] | None = None,
    on_start: Callable[[str], None] | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> Fitted:
    """Train all members as one model.

    ``schema`` is fitted on the training rows; validation rows are of other groups. ``features``
    say what members of sets have in common. Without any,
    the training objective at the final beta is monitored. ``resume`` is called with the
    fingerprint of rows and settings when all has been checked, and returns where checkpoints go:
    an interrupted run that left one there is resumed. ``on_start`` is called with what was chosen:
    device, batch size and learning rate.

    Raises a TrainingError if there are too few rows, or the loss diverges.
    """
    if len(training) < 2:
        hint = "give more data, or a smaller split.test"
        raise TrainingError(f"{len(training)} training rows are left", hint=hint)
    modules = [
        TabularModule(
            architecture_for(
                schema, training, model, m.latent, features, masked=spec.masking is not None
            ),
            m.seed,
        )
        for m in members
    ]
    for module in modules:
        for name, column in zip(schema.set_names, module.set_columns, strict=True):
            if features and name in features:
                column.features.copy_(torch.from_numpy(features[name]))
    work = sum(p.numel() for p in modules[0].parameters())
    where, reason = choose_device(device, work)
    module = stack(modules).to(where)
    fitted = TabularModel(
        schema,
        module,
        tuple(members),
        groups=_groups_of(training, validation),
        shift=GroupShift.fit(training) if model.shift == "group" else None,
    )
    training, validation = fitted.prepared(training), validation and fitted.prepared(validation)
    batch_size = auto_batch_size(len(training)) if spec.batch_size == "auto" else spec.batch_size
    rate = auto_rate(batch_size) if spec.learning_rate == "auto" else spec.learning_rate
    rows = Batch.of(training, where)
    masking = None if spec.masking is None else _masking(schema, training, spec.masking, where)
    source = TrainingBatches(
        rows, members, batch_size, dropout=model.dropout > 0.0, masking=masking
    )
    architecture = _ARCHITECTURE.dump_python(module.architecture, mode="json")
    settings = [architecture, spec.model_dump(mode="json"), [*map(asdict, members)]]
    checkpoints = resume and resume(_fingerprint(training, validation, settings))
    if on_start is not None:
        on_start(
            f"{reason}; {len(training):,} rows, {source.steps} steps of {source.batch_size}, "
            f"rate {rate:.2g}, {work:,} weights, {len(members)} members"
        )
    held = Batch.of(validation, where) if validation is not None and len(validation) else None
    closed_form = spec.engine != "autograd" and supports(module)
    with single_thread(work):
        trained = train(
            module,
            module.loss,
            source.epoch,
            None if held is None else lambda: _validate(module, held, members),
            spec,
            learning_rate=rate,
            betas=[m.beta for m in members],
            analytic=partial(AnalyticStep, module) if closed_form else None,
            resume=checkpoints,
            on_epoch=on_epoch,
        )
    module.to("cpu").eval()
    return Fitted(
        **vars(trained),
        model=fitted,
        device=reason,
        batch_size=source.batch_size,
        learning_rate=rate,
    )


def _groups_of(training: Records, validation: Records | None) -> Split | None:
    if training.group is None:
        return None
    train = spellings(pl.Series(training.group).unique())
    held = () if validation is None or validation.group is None else validation.group
    # An estimator may validate on other rows of the same groups.
    others = spellings(pl.Series(held, dtype=pl.String).unique()).keys() - train
    return Split(tuple(train), tuple(others), ())


def _masking(
    schema: FittedSchema, training: Records, spec: MaskingSpec, device: torch.device
) -> Masking:
    names = schema.numeric_names
    blocks = torch.eye(len(names), dtype=torch.bool)
    if spec.columns:
        blocks = torch.tensor([[name in spec.columns for name in names]])
        if not blocks.any():
            what = f"the table has none of the columns to mask: {', '.join(spec.columns)}"
            hint = "name others, or leave training.masking.columns out to mask any one"
            raise TrainingError(what, where="training.masking", hint=hint)
    group = np.zeros(len(training), np.int64)
    if training.group is not None:
        group = pl.Series(training.group).rank("dense").to_numpy().astype(np.int64) - 1
    return Masking(
        spec.kind,
        spec.share,
        blocks.to(device),
        torch.from_numpy(group).to(device),
        scored=spec.likelihood == "observed",
    )


def _validate(module: TabularModule, rows: Batch, members: Sequence[Member]) -> Validation:
    """Average the terms of the objective over validation rows with fixed noise."""
    ones = torch.ones(len(members), device=rows.numeric.device)
    sums: list[Tensor] = []
    for batch in evaluation_batches(rows, members):
        posterior = module.infer(batch)
        terms = module.loss(batch, ones, posterior)
        per_dimension = posterior.kl_per_dimension().mean(dim=1)
        # One tensor (M, 2 + L) for all: few calls, and a single reading back.
        joined = torch.column_stack([terms.reconstruction, terms.kl, per_dimension])
        # The last batch is shorter: means are weighted by their rows.
        sums.append(joined * (len(batch) / len(rows)))
    total = torch.stack(sums).sum(0)
    return Validation(total[:, 0], total[:, 1], (total[:, 2:] > ACTIVE_NATS).sum(1))


def _fingerprint(training: Records, validation: Records | None, settings: Sequence[Any]) -> str:
    """Identify a run by its rows and settings."""
    digest = hashlib.sha256()
    for records in (training, validation):
        if records is not None:
            arrays = (records.numeric, records.observed, records.category, records.condition)
            for array in (*arrays, *records.sets.values(), records.context):
                if array is None:
                    continue
                digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(json.dumps(settings).encode())
    return digest.hexdigest()
