"""The fitted prior of a crystal VAE: fitting it, what is proposed, latents for it, storage."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor, nn

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.evaluation.validity import MinimumDistances, minimum_distances
from variolite.crystals.generation.composition import (
    AtomCounts,
    CompositionNetwork,
    fit_atom_counts,
    fit_compositions,
    sample_compositions,
)
from variolite.crystals.generation.conditions import SPACE_GROUPS, Conditions, Vocabulary
from variolite.crystals.generation.flow import (
    CHECKS,
    ConditionDropout,
    FlowPrior,
    LatentBatches,
    LatentSet,
    fit_flow,
)
from variolite.crystals.generation.flow_network import FlowNetwork, FlowShape
from variolite.crystals.generation.where import Where
from variolite.crystals.model.latents import LatentStatistics, latent_statistics
from variolite.crystals.recipe import REMOVED_PRIORS, PriorSpec
from variolite.errors import DataError, ModelFileError, VarioliteError
from variolite.training.loop import Resume, is_due
from variolite.training.storage import fill

VALIDATION = 0.05
"""Fraction of the crystals that choose the epoch of the flow."""


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
    flow
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
    flow: FlowPrior
    volumes: tuple[float, float]
    contacts: MinimumDistances
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device) -> None:
        """Move the network of the flow to another device."""
        self.flow.network.to(device)

    def propose(self, number: int, where: Where | None = None, *, seed: int = 0) -> Conditions:
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
        free = Conditions(
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
        conditions: Conditions,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> Latents:
        """Draw latents of crystals of which some facts are known, ready for the decoder.

        Parameters
        ----------
        conditions
            What was proposed, or is wanted.
        seed
            Of the draws.
        temperature
            Below 1: closer to the middle of what is likely, and less varied.
        guidance
            Above 1: conditions weigh more than they were learned to.
        steps
            Of the solver.
        """
        drawn = self.flow.sample(
            conditions, seed=seed, temperature=temperature, guidance=guidance, steps=steps
        )
        names = np.array([f"generated-{i}" for i in range(len(conditions))], dtype=np.str_)
        return Latents(self.statistics.restored(drawn), None, conditions.offsets, names)


def fit_prior(
    latents: Latents,
    crystals: Crystals,
    spec: PriorSpec | None = None,
    properties: Sequence[str] = (),
    *,
    precision: str = "auto",
    seed: int = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    log: Callable[[str], None] | None = None,
) -> LatentPrior:
    """Fit a prior to the latents of the training crystals.

    Parameters
    ----------
    latents
        Posterior of the training crystals, with log-variances if there are any.
    crystals
        The same crystals in the same order, with the columns that are conditions.
    spec
        Sizes and training of the flow.
    properties
        Numeric columns of the crystals that may be asked for later.
    precision
        See `fit_flow`.
    seed
        Of everything random; the same seed gives the same prior on a CPU.
    device
        Where the flow is trained; the CPU by default.
    checkpoint
        File to keep the state of training in; an existing one is continued.
    log
        Called with the progress.

    Raises
    ------
    DataError
        If latents and crystals differ, are not finite, or lack a property.
    StoppedByUserError
        On Ctrl-C, after the last whole epoch is stored.
    """
    spec = spec or PriorSpec()
    if not len(crystals) or not np.array_equal(latents.offsets, crystals.offsets):
        raise DataError("latents and crystals of a prior differ in number or in size")
    began = time.monotonic()
    conditions = Conditions.of(crystals, properties)
    vocabulary = Vocabulary.of(conditions, properties)
    statistics = latent_statistics(latents)
    if log is not None:
        log("prior: numbers of atoms and compositions")
    counts = fit_atom_counts(conditions)
    compositions = fit_compositions(conditions, vocabulary, seed=seed)
    shape = FlowShape(
        latent=latents.mean.shape[1],
        elements=len(vocabulary.elements),
        properties=len(vocabulary.properties),
        width=spec.width,
        layers=spec.layers,
        heads=spec.heads,
    )
    device = device or torch.device("cpu")
    network = FlowNetwork.seeded(shape, seed).to(device)
    whole = LatentSet.of(latents, conditions, vocabulary, statistics, device)
    order = np.random.default_rng((seed, 5)).permutation(len(crystals))
    held = int(VALIDATION * len(order))
    resume = None
    if checkpoint is not None:
        settings = (spec, tuple(properties), precision, seed, vocabulary)
        digest = hashlib.sha256(repr(settings).encode())
        for array in (latents.mean, latents.offsets, conditions.species):
            digest.update(np.ascontiguousarray(array).tobytes())
        resume = Resume(checkpoint, digest.hexdigest())
    fitted = fit_flow(
        network,
        LatentBatches(whole, np.sort(order[held:]), spec.batch_size, seed, ConditionDropout()),
        np.sort(order[:held]),
        spec,
        precision=precision,
        resume=resume,
        log=log,
    )
    per_atom = crystals.volumes / crystals.counts
    provenance = {
        "kind": "flow",
        "settings": spec.model_dump(mode="json"),
        "seed": seed,
        "crystals": len(crystals),
        "seconds": round(time.monotonic() - began, 1),
        "active_units": int(statistics.active.sum()),
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_loss": fitted.history[-1].train_total[0],
        "validation_loss": [
            (record.epoch, record.val_monitored[0])
            for record in fitted.history
            if held and is_due(record.epoch, spec.epochs, CHECKS)
        ],
        "kept_epoch": fitted.best_epochs[0] if held else spec.epochs - 1,
    }
    return LatentPrior(
        vocabulary,
        statistics,
        counts,
        compositions,
        FlowPrior(network, vocabulary),
        (float(per_atom.min()), float(per_atom.max())),
        minimum_distances(crystals),
        provenance,
    )


# A fitted prior as tensors and a JSON-able description, and back.


FORMAT = 1
KIND = "crystal latent prior"


@dataclass(frozen=True)
class _Description:
    sizes: FlowShape
    vocabulary: Vocabulary
    volumes: tuple[float, float]
    provenance: dict[str, Any]


_DESCRIPTION = TypeAdapter(_Description)


class _Arrays(nn.Module):
    """Arrays of given shapes, to be filled as the weights of a network are."""

    def __init__(self, dtype: torch.dtype, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {name: value.numpy() for name, value in self.named_buffers()}


def prior_state(prior: LatentPrior) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a prior apart.

    Returns
    -------
    tensors
        By name, on the CPU.
    description
        JSON-able; `prior_from` needs both.
    """
    arrays: dict[str, Mapping[str, NDArray[Any]]] = {
        "statistics": {
            "location": prior.statistics.location,
            "scale": prior.statistics.scale,
            "divergence": prior.statistics.kl,
        },
        "counts": vars(prior.counts),
        "contacts": {"distances": prior.contacts.distances.astype(np.float32)},
    }
    networks = {"compositions": prior.compositions, "density": prior.flow.network}
    tensors = {
        f"{part}/{name}": torch.from_numpy(np.ascontiguousarray(array))
        for part, named in arrays.items()
        for name, array in named.items()
    } | {
        f"{part}/{name}": value.detach().cpu().contiguous()
        for part, network in networks.items()
        for name, value in network.state_dict().items()
    }
    return tensors, {
        "kind": KIND,
        "format": FORMAT,
        "density": "flow",
        **_DESCRIPTION.dump_python(
            _Description(
                prior.flow.network.shape, prior.vocabulary, prior.volumes, dict(prior.provenance)
            ),
            mode="json",
        ),
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
        if description["density"] != "flow":
            raise ModelFileError(f"there is no prior of kind {description['density']!r:.40}")
        parts = ("sizes", "vocabulary", "volumes", "provenance")
        stored = _DESCRIPTION.validate_python({part: description[part] for part in parts})
        return _put_together(tensors, stored)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        what = error.what if isinstance(error, VarioliteError) else repr(error)
        raise ModelFileError(
            f"the prior is damaged ({' '.join(what.split())[:200]})",
            where="prior",
            hint="fit the prior again, or copy the model folder again",
        ) from None


def _put_together(tensors: Mapping[str, Tensor], stored: _Description) -> LatentPrior:
    vocabulary = stored.vocabulary
    elements, properties = len(vocabulary.elements), len(vocabulary.properties)
    # All shapes follow from the vocabulary and the sizes of the flow, which have to agree.
    shape = replace(stored.sizes, elements=elements, properties=properties)
    per_count, per_latent = vocabulary.largest + 1, (shape.latent,)
    statistics = _Arrays(
        torch.float64, location=per_latent, scale=per_latent, divergence=per_latent
    )
    counts = _Arrays(
        torch.float64,
        groups=(SPACE_GROUPS, per_count),
        means=(properties, per_count),
        deviations=(properties, per_count),
    )
    # Earlier versions kept distances in double precision.
    precision = tensors["contacts/distances"].dtype
    contacts = _Arrays(precision, distances=(elements, elements))
    with torch.random.fork_rng(devices=[]):
        compositions = CompositionNetwork(elements, properties, vocabulary.largest)
        network = FlowNetwork(shape)
    parts = {
        "statistics": statistics,
        "counts": counts,
        "contacts": contacts,
        "compositions": compositions,
        "density": network,
    }
    dotted = {name.replace("/", ".", 1): value for name, value in tensors.items()}
    fill(nn.ModuleDict(parts), dotted, Path("prior"))
    for name, value in tensors.items():
        # The KL of latents without variances is not known, and nothing else may be missing.
        if name != "statistics/divergence" and not value.isfinite().all():
            raise ModelFileError(f"tensor {name} holds values that are not finite")
    positive = statistics.arrays()["scale"], contacts.arrays()["distances"]
    if not all((values > 0.0).all() for values in positive):
        raise ModelFileError("a scale of the latents or a distance of elements is not positive")
    low, high = stored.volumes
    if not 0.0 < low <= high:
        raise ModelFileError(f"volumes per atom from {low} to {high} are impossible")
    return LatentPrior(
        vocabulary,
        LatentStatistics(*statistics.arrays().values()),
        AtomCounts(**counts.arrays()),
        compositions.eval(),
        FlowPrior(network.eval(), vocabulary),
        stored.volumes,
        MinimumDistances(
            np.array(vocabulary.elements, dtype=np.int64),
            contacts.arrays()["distances"].astype(np.float64),
        ),
        stored.provenance,
    )
