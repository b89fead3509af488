"""Tabular models: trained on records, used in the user's own units, and kept in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import TypeAdapter
from torch import Tensor

from variolite.errors import TrainingError
from variolite.records import FittedSchema, Records, Split, Table, group_spellings, load_table
from variolite.training.device import single_thread
from variolite.training.group_shift import GroupShift
from variolite.training.row_batches import Member
from variolite.training.row_sampling import AS_TRAINED, SamplingOptions, draw_rows
from variolite.training.storage import (
    module_with,
    read_description,
    read_weights,
    reading_model,
    write_signed,
)
from variolite.vae import Architecture, Batch, TabularModule, blank
from variolite.vae import member as take_member
from variolite.vae.priors import NormalMixture

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

    def reading(
        self, *, rows: str | None = None, null: Sequence[str] = (), gaps: bool = False
    ) -> TabularModel:
        """Return the model with another condition on rows, and with more spellings of missing.

        With ``gaps`` it keeps all rows in which anything was observed.
        """
        schema, update = self.schema.schema, dict[str, Any]()
        if gaps:
            update["minimum_inputs"] = 1
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
        with torch.no_grad():
            prior = self.module.prior()
        for batch in self._batches(records):
            posterior = self.module.infer(batch)
            bounds = []
            for _ in range(samples):
                noise = self._noise(posterior.mean.shape[1], sources).to(posterior.mean.device)
                z, kl = prior.draw(posterior, noise)
                likelihood = self.module.generate(z, batch.condition)
                log_p = likelihood.log_prob(
                    batch.numeric, batch.observed, batch.category, batch.sets
                )
                if samples == 1:
                    # Terms in closed form have less variance than log q(z) - log p(z).
                    bounds.append(log_p - kl)
                else:
                    # Padded dimensions have z = noise = 0 on both sides and cancel.
                    log_p = log_p + prior.log_prob(z)
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

        ``latents`` (n, L) are from the prior by default, ``conditions`` (n, k), as `Records` holds
        them, zero: the training mean of a standardised numeric condition, and none of the levels
        of a category.
        """
        alone = self.only(member)
        module = alone.module.cpu()
        generator = torch.Generator().manual_seed(seed)
        if latents is None:
            with torch.no_grad():
                z = module.prior().sample(count, generator)
        else:
            z = torch.as_tensor(np.asarray(latents, dtype=np.float32))
            z = z.view(1, count, module.architecture.latent)
        given = alone._no_condition(count)
        if given is not None and conditions is not None:
            given = torch.as_tensor(np.asarray(conditions, dtype=np.float32)).view(given.shape)
        with torch.no_grad(), single_thread(0):
            return draw_rows(self.schema, module.generate(z, given), generator, options)

    def prior_moments(self) -> tuple[Array, Array]:
        """Mean and variance of the prior in every dimension, each (M, L)."""
        mean, variance = map(_numbers, self.module.prior().moments())
        return mean, variance

    def prior_components(self) -> tuple[Array, Array, Array]:
        """Weights (M, K), means and variances (M, K, L) of a prior that is a mixture."""
        prior = self.module.prior()
        assert isinstance(prior, NormalMixture)
        parts = prior.log_weights.exp(), prior.mean, prior.log_variance.exp()
        weights, means, variances = map(_numbers, parts)
        return weights / weights.sum(1, keepdims=True), means, variances

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
    return _numbers(torch.cat(parts, dim=1))


def _numbers(tensor: Tensor) -> Array:
    numbers: Array = tensor.detach().double().cpu().numpy()
    return numbers


# The model file of a tabular VAE: tensors in safetensors, everything else in JSON.

FORMAT = 3
KIND = "variolite.tabular_vae"

ARCHITECTURE = TypeAdapter(Architecture)
_MEMBERS = TypeAdapter(tuple[Member, ...])


def save_model(folder: Path, model: TabularModel) -> None:
    """Write a model into a folder; of the training rows, only the names of their groups."""
    write_signed(folder, KIND, FORMAT, description_of(model), model.module.state_dict())


def description_of(model: TabularModel) -> dict[str, Any]:
    """Return what a model file says beside the weights."""
    return {
        "architecture": ARCHITECTURE.dump_python(model.module.architecture, mode="json"),
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
    architecture = ARCHITECTURE.validate_python(description["architecture"])
    make = partial(blank, architecture, len(members))
    module = module_with(make, weights, folder).eval()
    schema = FittedSchema.from_dict(description["schema"])
    groups = description["groups"] and Split.from_dict(description["groups"])
    shift = description.get("shift")  # models of frameworks have formats of their own
    shift = shift and GroupShift.from_dict(shift)
    return TabularModel(schema, module, members, dict(description["provenance"]), groups, shift)
