"""A trained tabular VAE in the user's own units, and its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from variolite.errors import ModelFileError, TrainingError, VarioliteError
from variolite.records import FittedSchema, Records, group_spellings, read_table, units_of
from variolite.training.storage import (
    DESCRIPTION,
    Migration,
    fill,
    read_description,
    read_weights,
    write_signed,
)
from variolite.vae import Architecture, Batch, TabularModule
from variolite.vae import member as take_member
from variolite.vae.tabular import blank


@dataclass(frozen=True)
class Member:
    """What makes one member differ from its neighbours.

    Attributes
    ----------
    seed
        Of its starting weights, order of rows and noise.
    beta
        Factor on the schedule. 0 makes the member a plain autoencoder: no
        KL, and no noise either.
    latent
        Latent dimensions.
    """

    seed: int
    beta: float
    latent: int


Array = NDArray[np.float64]


@dataclass(frozen=True)
class TabularModel:
    """One or several trained members.

    Arrays that come out have a leading members axis M; rows keep their order.

    Attributes
    ----------
    schema
        Columns with their fitted transforms.
    module
        The network, in evaluation mode.
    members
        Seed, beta and latent size of every member.
    provenance
        Who made it, from what and how; JSON-able.
    """

    schema: FittedSchema
    module: TabularModule
    members: tuple[Member, ...]
    provenance: dict[str, Any] = field(default_factory=dict)

    def only(self, index: int) -> TabularModel:
        """Return one member as a model of its own."""
        chosen = self.members[index]
        module = take_member(self.module, index, chosen.latent).eval()
        return TabularModel(self.schema, module, (chosen,), self.provenance)

    def records(self, data: Any, mapping: Mapping[str, str] | None = None) -> Records:
        """Make records of a path or table with the schema of this model."""
        table = read_table(data, text=group_spellings(self.schema.schema, mapping))
        return self.schema.apply(table, mapping=mapping or None, units=units_of(data))

    def posterior(self, records: Records) -> tuple[Array, Array]:
        """Posterior means and log-variances, each of shape (M, n, L)."""
        means, log_variances = [], []
        for batch in self._batches(records):
            posterior = self.module.infer(batch)
            means.append(posterior.mean)
            log_variances.append(posterior.clamped_log_variance)
        return _joined(means), _joined(log_variances)

    def encode(self, records: Records) -> Array:
        """Posterior means, shape (M, n, L): deterministic, no sampling."""
        return self.posterior(records)[0]

    def reconstruct(self, records: Records) -> Array:
        """Numeric columns decoded at the posterior mean, original units, (M, n, D).

        The transforms are monotone, so that the centre of a symmetric
        likelihood becomes the *median* in original units.
        """
        if not self.module.architecture.numeric:
            return np.empty((len(self.members), len(records), 0))
        centres = []
        for batch in self._batches(records):
            z = self.module.infer(batch).mean
            numeric = self.module.generate(z, batch.condition).numeric
            assert numeric is not None
            centres.append(numeric.mean)
        original: Array = self.schema.inverse(_joined(centres))
        return original

    def evidence(self, records: Records, *, samples: int = 1, seed: int = 0) -> Array:
        """Bound on the log-likelihood of every row in original units, nats, (M, n).

        Parameters
        ----------
        records
            Rows.
        samples
            1 gives the evidence lower bound; more give the importance-weighted
            bound of Burda et al. (2016), which is tighter.
        seed
            Of the noise, which is the same for a member alone and beside others.
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
                z, kl = self.module.prior.draw(posterior, noise)
                likelihood = self.module.generate(z, batch.condition)
                log_p = likelihood.log_prob(batch.numeric, batch.observed, batch.category)
                if samples == 1:
                    bounds.append(log_p - kl)
                else:
                    # Padded dimensions have z = noise = 0 on both sides and cancel.
                    log_p = log_p + self.module.prior.log_prob(z)
                    bounds.append(log_p - posterior.log_prob(z))
            stacked = torch.logsumexp(torch.stack(bounds), dim=0) - float(np.log(samples))
            rows.append(stacked)
        bound: Array = _joined(rows) + records.log_det.sum(axis=1)
        return bound

    def sample(self, count: int, *, seed: int = 0, member: int = 0) -> dict[str, NDArray[Any]]:
        """Draw rows from the prior and the likelihood, in original units.

        A conditional model samples at conditions of zero: the training mean of
        a standardised numeric condition, and none of the levels of a category.

        Returns
        -------
        dict
            Column name to values, shape (n,); categories as their level names.
        """
        alone = self.only(member)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, count, alone.module.architecture.latent), generator=generator)
        width = alone.module.architecture.condition
        condition = torch.zeros((1, count, width)) if width else None
        with torch.no_grad():
            likelihood = alone.module.cpu().generate(alone.module.prior.sample(noise), condition)
        columns: dict[str, NDArray[Any]] = {}
        if likelihood.numeric is not None:
            drawn = likelihood.numeric.sample(generator)[0].double().numpy()
            values = self.schema.inverse(drawn)
            columns |= {name: values[:, i] for i, name in enumerate(self.schema.numeric_names)}
        for name, category in zip(self.schema.category_names, likelihood.categories, strict=True):
            levels = np.asarray(self.schema.category_levels[name])
            columns[name] = levels[category.sample(generator)[0].numpy()]
        return columns

    def noise(self) -> Array | None:
        """Decoder standard deviation per column in transformed units, (M, D); None by row."""
        if self.module.architecture.variance == "row" or not self.module.architecture.numeric:
            return None
        z = torch.zeros((len(self.members), 1, self.module.architecture.latent))
        width = self.module.architecture.condition
        device = next(self.module.parameters()).device
        condition = torch.zeros((1, 1, width), device=device) if width else None
        with torch.no_grad():
            numeric = self.module.generate(z.to(device), condition).numeric
        assert numeric is not None
        deviation: Array = numeric.deviation.double().cpu().numpy()
        return deviation[:, 0]

    def _batches(self, records: Records) -> Iterator[Batch]:
        device = next(self.module.parameters()).device
        with torch.no_grad():
            yield from Batch.of(records, device).chunks()

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
#
# The format number rises with every change of layout; `_MIGRATIONS` keeps old
# numbers readable.


FORMAT = 1
KIND = "variolite.tabular_vae"

_MIGRATIONS: Mapping[int, Migration] = {}
"""From format number n to n + 1; one entry and one fixture file for every past format."""

_ARCHITECTURE = TypeAdapter(Architecture)
_MEMBERS = TypeAdapter(tuple[Member, ...])


def save_model(folder: Path, model: TabularModel) -> None:
    """Write a model into a folder; nothing of the training rows goes with it."""
    content = {
        "architecture": asdict(model.module.architecture),
        "members": [asdict(member) for member in model.members],
        "schema": model.schema.to_dict(),
        "provenance": model.provenance,
    }
    write_signed(folder, KIND, FORMAT, content, model.module.state_dict())


def load_model(folder: Path, device: torch.device | None = None) -> TabularModel:
    """Read a model, whatever device it was trained on.

    Raises
    ------
    ModelFileError
        If a file is missing, foreign, truncated, altered, or of a newer format.
    """
    description = read_description(folder, KIND, FORMAT, _MIGRATIONS, "a tabular model")
    try:
        architecture = _ARCHITECTURE.validate_python(description["architecture"])
        members = _MEMBERS.validate_python(description["members"])
        schema = FittedSchema.from_dict(description["schema"])
        provenance = dict(description["provenance"])
        module = blank(architecture, len(members))
        fill(module, read_weights(folder, description), folder)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        if isinstance(e, ModelFileError) and e.where:
            raise
        what = e.what if isinstance(e, VarioliteError) else f"{type(e).__name__}: {e}"
        raise ModelFileError(
            f"the model description does not hold together ({' '.join(what.split())})",
            where=str(folder / DESCRIPTION),
            hint="save the model again with the version that trained it",
        ) from None
    module.to(device or torch.device("cpu")).eval()
    return TabularModel(schema, module, members, provenance)
