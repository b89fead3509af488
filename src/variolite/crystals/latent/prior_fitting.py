"""Fitting a latent prior after the VAE is trained."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from dataclasses import field as with_default
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from variolite.crystals.evaluation.contacts import shortest_contacts
from variolite.crystals.latent.atom_counts import fit_atom_counts
from variolite.crystals.latent.batches import LatentSets
from variolite.crystals.latent.composition import CompositionSettings, fit_compositions
from variolite.crystals.latent.field import FieldDensity, blank_network
from variolite.crystals.latent.fitting import FieldSettings, fit_field
from variolite.crystals.latent.known import Known, Vocabulary, atoms_of, known_of
from variolite.crystals.latent.mixture import MixtureSettings, fit_mixture
from variolite.crystals.latent.network import Shape
from variolite.crystals.latent.objectives import OBJECTIVES
from variolite.crystals.latent.prior import Density, LatentPrior
from variolite.crystals.latent.standardise import (
    LatentStatistics,
    latent_statistics,
    posterior_draw,
)
from variolite.crystals.latents import Latents
from variolite.crystals.structures import Crystals
from variolite.errors import DataError, RecipeError, nearest
from variolite.training.loop import Resume

__all__ = ["KINDS", "PriorSettings", "fit_prior"]

KINDS = ("flow", "diffusion", "mixture")
HELD_BACK = 0.05
"""Share of crystals that choose the epoch of a flow or diffusion prior."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class PriorSettings:
    """What prior, and how it is fitted.

    Attributes
    ----------
    kind
        ``flow``, ``diffusion`` or ``mixture``.
    properties
        Numeric columns of the crystals that may be asked for later.
    field
        Network and training of the first two.
    mixture
        Sizes of the third.
    compositions
        How long the model of compositions is fitted.
    """

    kind: str = "flow"
    properties: tuple[str, ...] = ()
    field: FieldSettings = with_default(default_factory=FieldSettings)
    mixture: MixtureSettings = with_default(default_factory=MixtureSettings)
    compositions: CompositionSettings = with_default(default_factory=CompositionSettings)


def fit_prior(
    latents: Latents,
    crystals: Crystals,
    settings: PriorSettings | None = None,
    *,
    seed: int = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    tell: Tell | None = None,
) -> LatentPrior:
    """Fit a prior to the latents of the training crystals.

    Parameters
    ----------
    latents
        What the encoder says of the training crystals, with log-variances if it has any.
    crystals
        The same crystals in the same order, with the columns that are conditions.
    settings
        Kind and sizes.
    seed
        Of everything random; the same seed gives the same prior on a CPU.
    device
        Where a flow or diffusion is trained; the CPU by default.
    checkpoint
        File to keep the state of training in; an existing one is continued.
    tell
        Called with the progress.

    Raises
    ------
    DataError
        If latents and crystals differ, are not finite, or lack a property.
    RecipeError
        If the kind is unknown.
    StoppedByUserError
        On Ctrl-C, after the last whole epoch is stored.
    """
    settings = settings or PriorSettings()
    tell = tell or (lambda _: None)
    if settings.kind not in KINDS:
        close = nearest(settings.kind, KINDS)
        raise RecipeError(
            f"there is no prior of kind {settings.kind!r}",
            where="prior.kind",
            mend=f"did you mean {close}?" if close else f"choose among {', '.join(KINDS)}",
        )
    if not len(crystals) or not np.array_equal(latents.offsets, crystals.offsets):
        raise DataError("latents and crystals of a prior differ in number or in size")
    began = time.monotonic()
    known = known_of(crystals, settings.properties)
    vocabulary = Vocabulary.of(known, settings.properties)
    statistics = latent_statistics(latents)
    tell("prior: numbers of atoms and compositions")
    counts = fit_atom_counts(known)
    compositions = fit_compositions(known, vocabulary, settings.compositions, seed=seed)
    density: Density
    if settings.kind == "mixture":
        tell("prior: mixtures")
        drawn = statistics.standardised(posterior_draw(latents, seed))
        density = fit_mixture(drawn, known, vocabulary, settings.mixture, seed=seed)
        fitted: Mapping[str, Any] = {}
    else:
        data = _Data(latents, known, vocabulary, statistics, device or torch.device("cpu"))
        density, fitted = _fit_field(data, settings, seed, checkpoint, tell)
    per_atom = crystals.volumes / crystals.counts
    provenance = {
        "kind": settings.kind,
        "settings": asdict(settings.mixture if settings.kind == "mixture" else settings.field),
        "seed": seed,
        "crystals": len(crystals),
        "seconds": round(time.monotonic() - began, 1),
        "active_units": int(statistics.active.sum()),
        **fitted,
    }
    volumes = (float(per_atom.min()), float(per_atom.max()))
    return LatentPrior(
        vocabulary,
        statistics,
        counts,
        compositions,
        density,
        volumes,
        shortest_contacts(crystals),
        provenance,
    )


@dataclass(frozen=True)
class _Data:
    latents: Latents
    known: Known
    vocabulary: Vocabulary
    statistics: LatentStatistics
    device: torch.device

    def sets(self, index: NDArray[np.int64]) -> LatentSets:
        """The chosen crystals as training sets."""
        atoms = atoms_of(self.latents.offsets, index)
        log_variance = self.latents.log_variance
        known = self.known.take(index)
        some = Latents(
            self.latents.mean[atoms],
            None if log_variance is None else log_variance[atoms],
            known.offsets,
            self.latents.names[index],
        )
        return LatentSets(some, known, self.vocabulary, self.statistics, self.device)


def _fit_field(
    data: _Data, settings: PriorSettings, seed: int, checkpoint: Path | None, tell: Tell
) -> tuple[FieldDensity, Mapping[str, Any]]:
    order = np.random.default_rng((seed, 5)).permutation(len(data.known))
    held = int(HELD_BACK * len(order))
    shape = Shape(
        latent=data.latents.mean.shape[1],
        elements=len(data.vocabulary.elements),
        properties=len(data.vocabulary.properties),
        width=settings.field.width,
        layers=settings.field.layers,
        heads=settings.field.heads,
    )
    network = blank_network(shape, seed).to(data.device)
    resume = None
    if checkpoint is not None:
        resume = Resume(checkpoint, _fingerprint(data, settings, shape, seed))
    fitted = fit_field(
        network,
        OBJECTIVES[settings.kind],
        data.sets(np.sort(order[held:])),
        data.sets(np.sort(order[:held])) if held else None,
        settings.field,
        seed=seed,
        resume=resume,
        tell=tell,
    )
    density = FieldDensity(settings.kind, network, data.vocabulary)
    return density, {
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_loss": fitted.losses[-1],
        "held_back_loss": fitted.held_back,
        "kept_epoch": fitted.kept_epoch,
    }


def _fingerprint(data: _Data, settings: PriorSettings, shape: Shape, seed: int) -> str:
    digest = hashlib.sha256(repr((settings, shape, seed, data.vocabulary)).encode())
    for array in (data.latents.mean, data.latents.offsets, data.known.species):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def condition_columns(crystals: Crystals, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Numeric columns that vary and may serve as conditions, in their order."""
    found = []
    for name, values in crystals.properties.items():
        if values.dtype.kind not in "fiu" or (wanted is not None and name not in wanted):
            continue
        finite = values[np.isfinite(values.astype(np.float64))]
        if len(finite) >= 2 and np.ptp(finite) > 0:
            found.append(name)
    return tuple(found)
