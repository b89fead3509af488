"""The fitted prior of a crystal VAE: fitting it, what is proposed, latents for it, storage."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

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
from variolite.crystals.generation.conditions import (
    SPACE_GROUPS,
    Conditions,
    ConditionTensors,
    Vocabulary,
)
from variolite.crystals.generation.flow import (
    CHECKS,
    FlowNetwork,
    FlowShape,
    LatentBatches,
    LatentSet,
    fit_flow,
    guided_velocity,
    integrate,
)
from variolite.crystals.generation.where import Where
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.latents import LatentStatistics, latent_statistics
from variolite.crystals.recipe import REMOVED_PRIORS, PriorSpec
from variolite.errors import DataError, ModelFileError, VarioliteError
from variolite.training.device import generator
from variolite.training.loop import Resume, is_due
from variolite.training.storage import module_with

VALIDATION = 0.05  # fraction of the crystals that choose the epoch of the flow
ATOMS_AT_ONCE = 4_096  # atoms whose latents are drawn in one batch


@dataclass(frozen=True)
class LatentPrior:
    """All that generation needs besides the decoder.

    Statistics of the latents by dimension; models of the number of atoms, of the elements given
    that, and of latents given both and further conditions; smallest and largest volume per atom
    of a training crystal, cubic Angstrom; how close atoms of every two elements come in them; and
    how all of it was fitted, JSON-able.
    """

    vocabulary: Vocabulary
    statistics: LatentStatistics
    counts: AtomCounts
    compositions: CompositionNetwork
    flow: FlowNetwork
    volumes: tuple[float, float]
    contacts: MinimumDistances
    provenance: Mapping[str, Any]

    def propose(self, number: int, where: Where = Where(), *, seed: int = 0) -> Conditions:
        """Draw sizes and elements that meet the conditions; a DataError if no size can."""
        if not len(where.properties):
            where = replace(where, properties=np.full(len(self.vocabulary.properties), np.nan))
        # Sizes first, then elements for each: cells of all sizes stay as frequent as they were.
        if where.atoms is not None:
            counts = np.full(number, where.atoms, dtype=np.int64)
        else:
            chances = self.counts.probabilities(where)
            random = np.random.default_rng((seed, 4))
            counts = random.choice(len(chances), number, p=chances).astype(np.int64)
        free = Conditions(
            counts=counts,
            species=np.zeros(int(counts.sum()), dtype=np.int64),
            space_groups=np.full(number, where.space_group, dtype=np.int64),
            properties=np.tile(where.properties, (number, 1)),
        )
        if where.formula is not None:
            unit = np.repeat(list(where.formula), list(where.formula.values()))
            species = np.concatenate([np.repeat(unit, n // where.size) for n in counts])
            return replace(free, species=species)
        species = sample_compositions(self.compositions, free, self.vocabulary, where, seed=seed)
        return replace(free, species=species)

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        *,
        seed: int = 0,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> Latents:
        """Draw latents of crystals of known sizes, in their order; see `Sampling`.

        ``temperature`` is the deviation of the noise that the paths start from.
        """
        device = next(self.flow.parameters()).device
        drawn = np.empty((len(conditions.species), self.flow.shape.latent), dtype=np.float32)
        # Sorted by size, so that attention works on few groups of crystals of equal size.
        order = np.argsort(conditions.counts, kind="stable")
        part = (np.cumsum(conditions.counts[order]) - 1) // ATOMS_AT_ONCE
        for number in np.unique(part):
            chosen = order[part == number]
            some = conditions.take(chosen)
            layout = Layout.of(some.counts, device)
            known = ConditionTensors.of(some, self.vocabulary, device)
            random = generator(device, seed, int(number))
            shape = len(some.species), drawn.shape[1]
            noise = torch.randn(shape, generator=random, device=device) * temperature
            velocity = guided_velocity(self.flow, layout, known, guidance)
            latents = integrate(velocity, noise, steps).float().cpu().numpy()
            drawn[conditions.atoms_of(chosen)] = latents
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
    log: Callable[[str], None] = lambda _: None,
) -> LatentPrior:
    """Fit a prior to the posterior of the training crystals, in their order.

    ``properties`` are numeric columns that may be asked for later. The flow is trained on a
    device, the CPU by default, where the same seed gives the same prior; see `fit_flow` for its
    precision. An existing checkpoint is continued. Raises `DataError` if latents and crystals
    differ, are not finite, or lack a property, and `StoppedByUserError` on Ctrl-C, after the last
    whole epoch is stored.
    """
    spec = spec or PriorSpec()
    if not len(crystals) or not np.array_equal(latents.offsets, crystals.offsets):
        raise DataError("latents and crystals of a prior differ in number or in size")
    began = time.monotonic()
    conditions = Conditions.of(crystals, properties)
    vocabulary = Vocabulary.of(conditions, properties)
    statistics = latent_statistics(latents)
    log("prior: numbers of atoms and compositions")
    counts = fit_atom_counts(conditions)
    compositions = fit_compositions(conditions, vocabulary, seed=seed)
    inputs = latents.mean.shape[1], len(vocabulary.elements), len(vocabulary.properties)
    shape = FlowShape(*inputs, spec.width, spec.layers, spec.heads)
    device = device or torch.device("cpu")
    network = FlowNetwork(shape, seed).to(device)
    known = ConditionTensors.of(conditions, vocabulary, device)
    whole = LatentSet.of(latents, statistics, known)
    order = np.random.default_rng((seed, 5)).permutation(len(crystals))
    held = int(VALIDATION * len(order))
    resume = None
    if checkpoint is not None:
        # A checkpoint belongs to these settings and these crystals, and to no others.
        settings = (spec, tuple(properties), precision, seed, vocabulary)
        digest = hashlib.sha256(repr(settings).encode())
        for array in (latents.mean, latents.offsets, conditions.species):
            digest.update(np.ascontiguousarray(array).tobytes())
        resume = Resume(checkpoint, digest.hexdigest())
    fitted = fit_flow(
        network,
        LatentBatches(whole, np.sort(order[held:]), spec.batch_size, seed),
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
        network,
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

_STATISTICS = ("location", "scale", "divergence")
"""Names in the file of the fields of `LatentStatistics`."""


def prior_state(prior: LatentPrior) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a prior apart into tensors by name, on the CPU, and a JSON-able description."""
    statistics = zip(_STATISTICS, vars(prior.statistics).values(), strict=True)
    arrays: dict[str, NDArray[Any]] = {
        **{f"statistics/{name}": array for name, array in statistics},
        **{f"counts/{name}": table for name, table in vars(prior.counts).items()},
        "contacts/distances": prior.contacts.distances.astype(np.float32),
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    for part, network in (("compositions", prior.compositions), ("density", prior.flow)):
        for name, value in network.state_dict().items():
            tensors[f"{part}/{name}"] = value.detach().cpu().contiguous()
    description = _Description(
        prior.flow.shape, prior.vocabulary, prior.volumes, dict(prior.provenance)
    )
    content = _DESCRIPTION.dump_python(description, mode="json")
    return tensors, {"kind": KIND, "format": FORMAT, "density": "flow", **content}


def prior_from(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> LatentPrior | None:
    """Put a prior together again, on the CPU; None for a kind that earlier versions had.

    Raises `ModelFileError` if the description is of something else or newer, or if anything is
    missing, foreign, of a wrong shape or not finite.
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
        return _put_together(tensors, _DESCRIPTION.validate_python(dict(description)))
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
    per_latent, per_count = (shape.latent,), vocabulary.largest + 1
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "statistics": dict.fromkeys(_STATISTICS, per_latent),
        "counts": {
            "groups": (SPACE_GROUPS, per_count),
            "means": (properties, per_count),
            "deviations": (properties, per_count),
        },
        "contacts": {"distances": (elements, elements)},
    }
    # Earlier versions kept distances in double precision.
    precision = {"contacts": tensors["contacts/distances"].dtype}

    def make() -> nn.ModuleDict:
        parts = nn.ModuleDict({part: nn.Module() for part in shapes})
        # Arrays are buffers here, so that they are checked as the weights of the networks are.
        for part, arrays in shapes.items():
            for name, sizes in arrays.items():
                empty = torch.empty(sizes, dtype=precision.get(part, torch.float64))
                parts[part].register_buffer(name, empty)
        with torch.random.fork_rng(devices=[]):
            parts["compositions"] = CompositionNetwork(elements, properties, vocabulary.largest)
        parts["density"] = FlowNetwork(shape)
        return parts

    dotted = {name.replace("/", ".", 1): value for name, value in tensors.items()}
    # The KL of latents without variances is not known.
    parts = module_with(make, dotted, Path("prior"), unknown="statistics.divergence").eval()
    if not all((tensors[name] > 0.0).all() for name in ("statistics/scale", "contacts/distances")):
        raise ModelFileError("a scale of the latents or a distance of elements is not positive")
    low, high = stored.volumes
    if not 0.0 < low <= high:
        raise ModelFileError(f"volumes per atom from {low} to {high} are impossible")
    statistics, counts, (distances,) = (
        [tensors[f"{part}/{name}"].numpy() for name in arrays] for part, arrays in shapes.items()
    )
    known = np.array(vocabulary.elements, dtype=np.int64)
    return LatentPrior(
        vocabulary,
        LatentStatistics(*statistics),
        AtomCounts(*counts),
        cast(CompositionNetwork, parts["compositions"]),
        cast(FlowNetwork, parts["density"]),
        stored.volumes,
        MinimumDistances(known, distances.astype(np.float64)),
        stored.provenance,
    )
