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

from variolite.errors import TrainingError
from variolite.records import FittedSchema, Records, group_spellings, read_table, units_of
from variolite.training.storage import (
    fill,
    read_description,
    read_weights,
    reading_model,
    write_signed,
)
from variolite.vae import Architecture, Batch, TabularModule, blank
from variolite.vae import member as take_member

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Member:
    """What makes one member differ from the others of a model.

    ``seed`` is of its starting weights, order of rows and noise; ``beta`` is a factor on the
    schedule, 0 for a plain autoencoder: no KL, and no noise either.
    """

    seed: int
    beta: float
    latent: int


@dataclass(frozen=True)
class TabularModel:
    """One or several trained members, the network in evaluation mode.

    Arrays that come out have a leading members axis M; rows keep their order. ``provenance`` is
    JSON-able.
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
        found = [self.module.infer(batch) for batch in self._batches(records)]
        means = _joined([posterior.mean for posterior in found])
        return means, _joined([posterior.clamped_log_variance for posterior in found])

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
        original: Array = self.schema.inverse(_joined(centres))
        return original

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
                z, kl = self.module.prior.draw(posterior, noise)
                likelihood = self.module.generate(z, batch.condition)
                log_p = likelihood.log_prob(batch.numeric, batch.observed, batch.category)
                if samples == 1:
                    # The KL in closed form has less variance than log q(z) - log p(z).
                    bounds.append(log_p - kl)
                else:
                    # Padded dimensions have z = noise = 0 on both sides and cancel.
                    log_p = log_p + self.module.prior.log_prob(z)
                    bounds.append(log_p - posterior.log_prob(z))
            stacked = torch.logsumexp(torch.stack(bounds), dim=0) - float(np.log(samples))
            rows.append(stacked)
        # The densities are of transformed values; the log-determinant brings them back.
        bound: Array = _joined(rows) + records.log_det.sum(axis=1)
        return bound

    def sample(self, count: int, *, seed: int = 0, member: int = 0) -> dict[str, NDArray[Any]]:
        """Draw rows from the prior and the likelihood: column to values (n,), original units.

        A conditional model samples at conditions of zero: the training mean of a standardised
        numeric condition, and none of the levels of a category.
        """
        alone = self.only(member)
        module = alone.module.cpu()
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, count, module.architecture.latent), generator=generator)
        with torch.no_grad():
            likelihood = module.generate(module.prior.sample(noise), alone._no_condition(count))
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
        # The same for every row, so that any latent point will do.
        z = torch.zeros(
            (len(self.members), 1, self.module.architecture.latent), device=self._device
        )
        with torch.no_grad():
            numeric = self.module.generate(z, self._no_condition(1)).numeric
        assert numeric is not None
        deviation: Array = numeric.deviation.double().cpu().numpy()
        return deviation[:, 0]

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _no_condition(self, rows: int) -> Tensor | None:
        width = self.module.architecture.condition
        return torch.zeros((1, rows, width), device=self._device) if width else None

    def _batches(self, records: Records) -> Iterator[Batch]:
        with torch.no_grad():
            yield from Batch.of(records, self._device).chunks()

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

FORMAT = 1
KIND = "variolite.tabular_vae"

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


def load_model(folder: Path) -> TabularModel:
    """Read a model onto the CPU, whatever device it was trained on.

    Raises a ModelFileError if a file is missing, foreign, truncated, altered, or of a newer format.
    """
    with reading_model(folder):
        # A new format needs an entry that leads from the one before, and a fixture file of that.
        description = read_description(folder, KIND, FORMAT, {}, "a tabular model")
        members = _MEMBERS.validate_python(description["members"])
        module = blank(_ARCHITECTURE.validate_python(description["architecture"]), len(members))
        schema = FittedSchema.from_dict(description["schema"])
        provenance = dict(description["provenance"])
        fill(module, read_weights(folder, description), folder)
    return TabularModel(schema, module.eval(), members, provenance)
