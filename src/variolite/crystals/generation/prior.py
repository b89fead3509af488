"""The fitted prior of a crystal VAE: fitting it, what is proposed, latents for it, storage."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from dataclasses import field as with_default
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals
from variolite.crystals.evaluation.validity import MinimumDistances, minimum_distances
from variolite.crystals.generation.composition import (
    AtomCounts,
    CompositionNetwork,
    CompositionSettings,
    fit_atom_counts,
    fit_compositions,
    sample_compositions,
)
from variolite.crystals.generation.conditions import Known, Vocabulary, Where, atoms_of, known_of
from variolite.crystals.generation.flow import (
    CHECKS,
    FlowPrior,
    FlowSettings,
    LatentSets,
    blank_network,
    fit_flow,
    load_exactly,
)
from variolite.crystals.generation.flow_network import Shape
from variolite.crystals.latents import Latents, LatentStatistics, latent_statistics
from variolite.errors import DataError, ModelFileError, VarioliteError
from variolite.recipe.crystals import REMOVED_PRIORS
from variolite.training.loop import Resume, is_due

# The fitted prior of a crystal VAE: what is proposed, and latents for it.


@dataclass(frozen=True)
class LatentPrior:
    """All that generation needs besides the decoder.

    Attributes
    ----------
    vocabulary
        Conditions it was fitted with.
    statistics
        Of the latents, dimension by dimension.
    counts
        Model of the number of atoms.
    compositions
        Model of the elements.
    density
        Of latents, given size, elements and further conditions.
    volumes
        Smallest and largest volume per atom of a training crystal, cubic Angstrom.
    contacts
        How close atoms of every two elements come in the training crystals.
    provenance
        How it was fitted, JSON-able.
    """

    vocabulary: Vocabulary
    statistics: LatentStatistics
    counts: AtomCounts
    compositions: CompositionNetwork
    density: FlowPrior
    volumes: tuple[float, float]
    contacts: MinimumDistances
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latent(self) -> int:
        """Dimensions of the latent of an atom."""
        return len(self.statistics.location)

    def to(self, device: torch.device) -> None:
        """Move the network to another device."""
        self.density.to(device)

    def propose(self, number: int, where: Where | None = None, *, seed: int = 0) -> Known:
        """Draw sizes and elements that meet the conditions.

        Parameters
        ----------
        number
            Crystals wanted.
        where
            Conditions; none by default.
        seed
            Of the draws.

        Raises
        ------
        DataError
            If no number of atoms can meet the conditions.
        """
        where = where or Where()
        properties = where.properties
        if not len(properties):
            properties = np.full(len(self.vocabulary.properties), np.nan)
        if where.atoms is not None:
            counts = np.full(number, where.atoms, dtype=np.int64)
        else:
            chances = self.counts.probabilities(
                space_group=where.space_group,
                properties=properties,
                multiple_of=where.size,
                at_least=len(where.elements),
            )
            random = np.random.default_rng((seed, 4))
            counts = random.choice(len(chances), number, p=chances).astype(np.int64)
        free = Known(
            counts=counts,
            species=np.zeros(int(counts.sum()), dtype=np.int64),
            space_groups=np.full(number, where.space_group, dtype=np.int64),
            properties=np.tile(properties, (number, 1)),
        )
        if where.formula is not None:
            unit = np.repeat(list(where.formula), list(where.formula.values()))
            species = np.concatenate([np.repeat(unit, n // where.size) for n in counts])
        else:
            species = sample_compositions(
                self.compositions,
                free,
                self.vocabulary,
                elements=where.elements,
                others=where.others,
                seed=seed,
            )
        return replace(free, species=species)

    def sample(
        self,
        known: Known,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> Latents:
        """Draw latents of crystals of which some facts are known, ready for the decoder.

        Parameters
        ----------
        known
            What was proposed, or is wanted.
        seed
            Of the draws.
        temperature
            Below 1: closer to the middle of what is likely, and less varied.
        guidance
            Above 1: conditions weigh more than they were learned to.
        steps
            Of the sampler.
        """
        drawn = self.density.sample(
            known, seed=seed, temperature=temperature, guidance=guidance, steps=steps
        )
        names = np.array([f"generated-{i}" for i in range(len(known))], dtype=np.str_)
        return Latents(self.statistics.restored(drawn), None, known.offsets, names)


# Fitting a latent prior after the VAE is trained.


HELD_BACK = 0.05
"""Share of crystals that choose the epoch of a flow prior."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class PriorSettings:
    """How a prior is fitted.

    Attributes
    ----------
    properties
        Numeric columns of the crystals that may be asked for later.
    flow
        Network and training of the flow.
    compositions
        How long the model of compositions is fitted.
    """

    properties: tuple[str, ...] = ()
    flow: FlowSettings = with_default(default_factory=FlowSettings)
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
        Sizes and conditions.
    seed
        Of everything random; the same seed gives the same prior on a CPU.
    device
        Where the flow is trained; the CPU by default.
    checkpoint
        File to keep the state of training in; an existing one is continued.
    tell
        Called with the progress.

    Raises
    ------
    DataError
        If latents and crystals differ, are not finite, or lack a property.
    StoppedByUserError
        On Ctrl-C, after the last whole epoch is stored.
    """
    settings = settings or PriorSettings()
    tell = tell or (lambda _: None)
    if not len(crystals) or not np.array_equal(latents.offsets, crystals.offsets):
        raise DataError("latents and crystals of a prior differ in number or in size")
    began = time.monotonic()
    known = known_of(crystals, settings.properties)
    vocabulary = Vocabulary.of(known, settings.properties)
    statistics = latent_statistics(latents)
    tell("prior: numbers of atoms and compositions")
    counts = fit_atom_counts(known)
    compositions = fit_compositions(known, vocabulary, settings.compositions, seed=seed)
    data = _Data(latents, known, vocabulary, statistics, device or torch.device("cpu"))
    density, fitted = _fit_flow(data, settings, seed, checkpoint, tell)
    per_atom = crystals.volumes / crystals.counts
    provenance = {
        "kind": "flow",
        "settings": asdict(settings.flow),
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
        minimum_distances(crystals),
        provenance,
    )


@dataclass(frozen=True)
class _Data:
    latents: Latents
    known: Known
    vocabulary: Vocabulary
    statistics: LatentStatistics
    device: torch.device

    def sets(self, index: NDArray[np.int64], **settings: Any) -> LatentSets:
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
        return LatentSets(some, known, self.vocabulary, self.statistics, self.device, **settings)


def _fit_flow(
    data: _Data, settings: PriorSettings, seed: int, checkpoint: Path | None, tell: Tell
) -> tuple[FlowPrior, Mapping[str, Any]]:
    order = np.random.default_rng((seed, 5)).permutation(len(data.known))
    held = int(HELD_BACK * len(order))
    shape = Shape(
        latent=data.latents.mean.shape[1],
        elements=len(data.vocabulary.elements),
        properties=len(data.vocabulary.properties),
        width=settings.flow.width,
        layers=settings.flow.layers,
        heads=settings.flow.heads,
    )
    network = blank_network(shape, seed).to(data.device)
    resume = None
    if checkpoint is not None:
        resume = Resume(checkpoint, _fingerprint(data, settings, shape, seed))
    fitted = fit_flow(
        network,
        data.sets(
            np.sort(order[held:]),
            batch_size=settings.flow.batch,
            seed=seed,
            dropout=settings.flow.dropout,
        ),
        data.sets(np.sort(order[:held])) if held else None,
        settings.flow,
        resume=resume,
        tell=tell,
    )
    density = FlowPrior(network, data.vocabulary)
    return density, {
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_loss": fitted.history[-1].train_total[0],
        "validation_loss": [
            (record.epoch, record.val_monitored[0])
            for record in fitted.history
            if held and is_due(record.epoch, settings.flow.epochs, CHECKS)
        ],
        "kept_epoch": fitted.best_epochs[0] if held else settings.flow.epochs - 1,
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


# A fitted prior as tensors and a JSON-able description, and back.


FORMAT = 1
KIND = "crystal latent prior"

_PARTS = ("statistics", "counts", "contacts", "compositions", "density")


def prior_state(prior: LatentPrior) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a prior apart.

    Returns
    -------
    tensors
        By name, on the CPU.
    description
        JSON-able; `prior_from` needs both.
    """
    parts: dict[str, dict[str, Tensor]] = {
        "statistics": _tensors(prior.statistics.to_arrays()),
        "counts": _tensors(prior.counts.to_arrays()),
        "contacts": _tensors({"distances": prior.contacts.distances.astype(np.float32)}),
        "compositions": {
            name: value.detach().cpu() for name, value in prior.compositions.state_dict().items()
        },
        "density": prior.density.to_tensors(),
    }
    tensors = {
        f"{part}/{name}": value.contiguous()
        for part, named in parts.items()
        for name, value in named.items()
    }
    return tensors, {
        "kind": KIND,
        "format": FORMAT,
        "density": "flow",
        "sizes": prior.density.description(),
        "vocabulary": prior.vocabulary.to_dict(),
        "volumes": list(prior.volumes),
        "provenance": dict(prior.provenance),
    }


def prior_from(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> LatentPrior | None:
    """Put a prior together again, on the CPU; None for a kind that earlier versions had.

    Raises
    ------
    ModelFileError
        If the description is of something else or newer, or if anything is missing,
        foreign, of a wrong shape or not finite.
    """
    if description.get("kind") != KIND:
        raise ModelFileError("this is not the description of a latent prior", where="prior")
    number = description.get("format")
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise ModelFileError(
            f"the prior has format {number!r:.40}, this version reads 1 to {FORMAT}",
            where="prior",
            hint="upgrade variolite",
        )
    if description.get("density") in REMOVED_PRIORS:
        return None
    try:
        return _put_together(tensors, description)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        what = error.what if isinstance(error, VarioliteError) else repr(error)
        raise ModelFileError(
            f"the prior does not hold together ({' '.join(what.split())[:200]})",
            where="prior",
            hint="fit the prior again, or copy the model folder again",
        ) from None


def _put_together(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> LatentPrior:
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in _PARTS}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        if part not in parts:
            raise ModelFileError(f"unexpected tensor {name}")
        # The KL of latents without variances is not known, and nothing else may be missing.
        if value.is_floating_point() and rest != "divergence" and not value.isfinite().all():
            raise ModelFileError(f"tensor {name} holds values that are not finite")
        parts[part][rest] = value
    vocabulary = Vocabulary.from_dict(description["vocabulary"])
    statistics = LatentStatistics.from_arrays(_arrays(parts["statistics"]))
    counts = AtomCounts.from_arrays(_arrays(parts["counts"]))
    if counts.largest != vocabulary.largest or len(counts.means) != len(vocabulary.properties):
        raise ModelFileError("the model of the number of atoms is that of other crystals")
    with torch.random.fork_rng(devices=[]):
        compositions = CompositionNetwork(
            len(vocabulary.elements), len(vocabulary.properties), vocabulary.largest
        )
    load_exactly(compositions, parts["compositions"], "the model of compositions")
    if description["density"] != "flow":
        raise ModelFileError(f"there is no prior of kind {description['density']!r:.40}")
    sizes = description["sizes"]
    if (sizes["elements"], sizes["properties"]) != (
        len(vocabulary.elements),
        len(vocabulary.properties),
    ):
        raise ModelFileError("the network of the prior is that of other crystals")
    density = FlowPrior.rebuild(sizes, parts["density"], vocabulary)
    latent = len(statistics.location)
    if density.latent != latent:
        raise ModelFileError(f"the density has {density.latent} dimensions, the latents {latent}")
    low, high = (float(volume) for volume in description["volumes"])
    if not 0.0 < low <= high:
        raise ModelFileError(f"volumes per atom from {low} to {high} are impossible")
    return LatentPrior(
        vocabulary,
        statistics,
        counts,
        compositions.eval(),
        density,
        (low, high),
        _contacts(parts["contacts"], vocabulary),
        dict(description["provenance"]),
    )


def _contacts(tensors: Mapping[str, Tensor], vocabulary: Vocabulary) -> MinimumDistances:
    distances = tensors["distances"].numpy()
    elements = np.array(vocabulary.elements, dtype=np.int64)
    if distances.shape != (len(elements), len(elements)) or not (distances > 0.0).all():
        raise ModelFileError("the distances between elements are none, or those of others")
    return MinimumDistances(elements, distances.astype(np.float64))


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: value.numpy() for name, value in tensors.items()}
