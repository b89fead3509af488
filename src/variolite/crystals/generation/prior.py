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
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.validity import MinimumDistances, minimum_distances
from variolite.crystals.generation.composition import (
    AtomCounts,
    CompositionNetwork,
    fit_atom_counts,
    fit_compositions,
    sample_compositions,
    sample_groups,
)
from variolite.crystals.generation.conditions import (
    SPACE_GROUPS,
    Conditions,
    ConditionTensors,
    Integers,
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
from variolite.crystals.generation.starts import Start, StartMeans, fit_start
from variolite.crystals.generation.where import Where
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.latents import LatentStatistics, latent_statistics
from variolite.crystals.recipe import REMOVED_PRIORS, PriorSpec
from variolite.errors import DataError, ModelFileError, VarioliteError
from variolite.training.device import generator
from variolite.training.loop import Resume, is_due
from variolite.training.storage import module_with

VALIDATION = 0.05  # fraction of the formulas whose crystals choose the epoch of the flow
FEWEST_TO_SPLIT = 20  # below which it is a fraction of the crystals
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

    def propose(
        self,
        number: int,
        where: Where = Where(),
        *,
        guidance: float = 1.0,
        seed: int = 0,
        counts: Integers | None = None,
    ) -> Conditions:
        """Draw sizes, elements and space groups that meet the conditions.

        ``guidance`` is the weight of the space group and the properties in ``where``; ``counts``
        are sizes (number,) that were drawn before. DataError if no size meets the conditions.
        """
        if not len(where.properties):
            where = replace(where, properties=np.full(len(self.vocabulary.properties), np.nan))
        # Sizes first, then elements for each: cells of all sizes stay as frequent as they were.
        if counts is None and where.atoms is not None:
            counts = np.full(number, where.atoms, dtype=np.int64)
        elif counts is None:
            chances = self.counts.probabilities(where, guidance)
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
        else:
            species = sample_compositions(
                self.compositions, free, self.vocabulary, where, guidance=guidance, seed=seed
            )
        return self.with_groups(replace(free, species=species), seed=seed)

    def with_groups(self, conditions: Conditions, *, seed: int = 0) -> Conditions:
        """Draw a space group for every crystal that has none.

        Where there are prototypes with as many atoms of every element, it is one of theirs.
        """
        tokens = self.vocabulary.tokens(conditions.species)
        allowed = self.flow.start.groups_of(tokens, conditions.counts)
        groups = sample_groups(self.compositions, conditions, self.vocabulary, allowed, seed=seed)
        return replace(conditions, space_groups=groups)

    @torch.no_grad()
    def sample(
        self,
        conditions: Conditions,
        where: Where = Where(),
        *,
        seed: int = 0,
        temperature: float = 1.0,
        guidance: float = 1.0,
        steps: int = 10,
    ) -> Latents:
        """Draw latents of crystals of known sizes, in their order; see `Sampling`.

        ``temperature`` is a factor on the noise that the paths start from. Guidance strengthens
        the properties, and the space group if ``where`` asks for one.
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
            shape = len(some.species) + len(some), drawn.shape[1]
            noise = torch.randn(shape, generator=random, device=device)
            groups, tokens = some.space_groups, self.vocabulary.tokens(some.species)
            means = self.flow.start.assign(
                tokens, some.counts, groups, np.random.default_rng((seed, int(number)))
            )
            start = self.flow.start(noise, means, layout, temperature)
            drawn_groups = torch.full_like(known.space_groups, int(not where.space_group))
            free = known.dropped(drawn_groups, torch.zeros_like(known.given))
            velocity = guided_velocity(self.flow, layout, known, free, means, guidance)
            latents = integrate(velocity, start, steps).float().cpu().numpy()
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
    """Fit a prior to the posterior means of the training crystals, in their order.

    A twentieth of the formulas is held out, and their crystals choose the epoch of the flow.
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
    device = device or torch.device("cpu")
    held = _held_out(crystals, seed)
    kept = np.flatnonzero(~held)
    # Starts know the training part alone; the rest gets the nearest prototypes.
    mean, tokens = statistics.standardised(latents.mean), vocabulary.tokens(conditions.species)
    mine, groups = conditions.atoms_of(kept), conditions.space_groups
    formulas = reduced_formulas(crystals)[kept]
    sizes = len(vocabulary.elements), len(vocabulary.properties)
    known = mean[mine].astype(np.float64), tokens[mine], conditions.counts[kept], groups[kept]
    start, own = fit_start(*known, formulas, sizes[0])
    random = np.random.default_rng((seed, 7))
    means = start.assign(tokens, conditions.counts, groups, random, mean)
    means.base[mine], means.kinds[kept] = own
    shape = FlowShape(
        mean.shape[1],
        *sizes,
        spec.width,
        spec.layers,
        spec.heads,
        prototypes=len(start.sizes),
        sites=len(start.sites),
    )
    network = FlowNetwork(shape, seed)
    network.start = start
    network.to(device)
    whole = LatentSet(
        torch.from_numpy(mean).to(device),
        ConditionTensors.of(conditions, vocabulary, device),
        latents.offsets,
        StartMeans(*(some.to(device) for some in means)),
    )
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
        LatentBatches(whole, kept, spec.batch_size, seed),
        np.flatnonzero(held),
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
            if held.any() and is_due(record.epoch, spec.epochs, CHECKS)
        ],
        "kept_epoch": fitted.best_epochs[0] if held.any() else spec.epochs - 1,
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


def _held_out(crystals: Crystals, seed: int) -> NDArray[np.bool_]:
    """Choose a twentieth of the formulas, or of the crystals where there are few formulas, (B,)."""
    keys: NDArray[Any] = reduced_formulas(crystals)
    if len(np.unique(keys)) < FEWEST_TO_SPLIT:
        keys = np.arange(len(crystals))
    distinct = np.random.default_rng((seed, 5)).permutation(np.unique(keys))
    return np.isin(keys, distinct[: int(VALIDATION * len(distinct))])


# A fitted prior as tensors and a JSON-able description, and back.

FORMAT = 2  # format 1: paths started from standard normal noise, space groups were not drawn
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
        return _put_together(tensors, _DESCRIPTION.validate_python(dict(description)), number)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        what = error.what if isinstance(error, VarioliteError) else repr(error)
        raise ModelFileError(
            f"the prior is damaged ({' '.join(what.split())[:200]})",
            where="prior",
            hint="fit the prior again, or copy the model folder again",
        ) from None


def _put_together(tensors: Mapping[str, Tensor], stored: _Description, number: int) -> LatentPrior:
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
    drawn = "compositions/to_group.weight" in tensors
    if number == 1:
        # As they are made, these change nothing.
        enter = tensors["density/enter.weight"]
        made = Start(enter.shape[1], elements).state_dict()
        later = {f"density/start.{name}": value for name, value in made.items()}
        later["density/site.weight"] = torch.zeros(len(enter), enter.shape[1] + 1)
        tensors = {**later, **tensors}

    def make() -> nn.ModuleDict:
        parts = nn.ModuleDict({part: nn.Module() for part in shapes})
        # Arrays are buffers here, so that they are checked as the weights of the networks are.
        for part, arrays in shapes.items():
            for name, sizes in arrays.items():
                empty = torch.empty(sizes, dtype=precision.get(part, torch.float64))
                parts[part].register_buffer(name, empty)
        with torch.random.fork_rng(devices=[]):
            largest = vocabulary.largest
            parts["compositions"] = CompositionNetwork(elements, properties, largest, drawn)
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
