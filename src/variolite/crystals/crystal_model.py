"""A trained crystal VAE: encoding, decoding, and its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import SYMBOLS
from variolite.crystals.frame import Frame, canonical
from variolite.crystals.generation.prior import LatentPrior, prior_from, prior_state
from variolite.crystals.generation.properties import PropertyHead, head_from, head_state
from variolite.crystals.generation.sampling import TRIES, Generated, generate
from variolite.crystals.latents import Latents
from variolite.crystals.model.batch import (
    CrystalTensors,
    Layout,
    coordinates_of,
    evaluation_batches,
    lattices_of,
)
from variolite.crystals.model.network import (
    CrystalArchitecture,
    CrystalModule,
    LossWeights,
)
from variolite.crystals.periodic import has_cell
from variolite.errors import DataError, ModelFileError, RunFolderError, VarioliteError
from variolite.training.storage import (
    DESCRIPTION,
    Migration,
    fill,
    read_description,
    read_weights,
    write_signed,
)

# Between crystals and the network: the canonical frame, encoding and decoding.


def canonicalize(crystals: Crystals) -> Frame:
    """Return crystals in the frame that the network sees them in.

    Raises
    ------
    DataError
        If one has no atoms, no cell, or numbers that are not finite.
    """
    broken = np.flatnonzero(~has_cell(crystals))
    if broken.size:
        place = int(broken[0])
        raise DataError(
            "the structure has no atoms, no cell of a volume, an element 0, or numbers that are "
            "not finite",
            where=str(crystals.names[place]) or f"crystal {place}",
            hint="leave such structures out: `variolite crystals pack` lists them with reasons",
        )
    return canonical(crystals)


def require_known(module: CrystalModule, crystals: Crystals) -> None:
    """Say clearly which crystal holds an element that a module was not trained on.

    Raises
    ------
    DataError
        If there is one.
    """
    strange = np.flatnonzero(~np.isin(crystals.species, module.elements))
    if strange.size:
        crystal = int(crystals.owner[strange[0]])
        symbol = SYMBOLS[int(crystals.species[strange[0]])]
        raise DataError(
            f"the model was not trained on {symbol}",
            where=str(crystals.names[crystal]) or f"crystal {crystal}",
            hint="leave such structures out, or train a model on data that have them",
        )


@torch.no_grad()
def encode(module: CrystalModule, crystals: Crystals) -> Latents:
    """Encode crystals that are in the module's frame; posterior means and log-variances."""
    require_known(module, crystals)
    latent = module.architecture.latent
    device = next(module.parameters()).device
    mean = np.empty((len(crystals.species), latent), dtype=np.float32)
    log_variance = np.empty_like(mean)
    tensors = CrystalTensors.of(crystals, device)
    for batch in evaluation_batches(tensors, latent, noise_seed=None):
        posterior = module.infer(batch)
        atoms = crystals.atoms_of(batch.order.cpu().numpy())
        mean[atoms] = posterior.mean[0].cpu().numpy()
        log_variance[atoms] = posterior.clamped_log_variance[0].cpu().numpy()
    return Latents(mean, log_variance, crystals.offsets, crystals.names)


@torch.no_grad()
def decode(
    module: CrystalModule, latents: Latents, *, species: NDArray[np.integer] | None = None
) -> Crystals:
    """Decode latents to crystals in the module's frame.

    Parameters
    ----------
    module
        In evaluation mode.
    latents
        Of the width of the module.
    species
        Atomic numbers, shape (N,), where the module is given them.
    """
    width = module.architecture.latent
    if latents.mean.shape[1] != width:
        raise DataError(
            f"the latents have {latents.mean.shape[1]} dimensions, the model has {width}",
            hint="decode latents with the model that encoded them",
        )
    if species is not None:
        _require_known_species(module, np.asarray(species), latents)
    device = next(module.parameters()).device
    order = np.argsort(latents.counts, kind="stable")
    found = np.empty(len(latents.mean), dtype=np.uint8)
    coordinates = np.empty((len(latents.mean), 3))
    lattices = np.empty((len(latents), 3, 3))
    table = np.array(module.elements, dtype=np.uint8)
    for chosen in _portions(latents.counts, order):
        counts = latents.counts[chosen]
        begins = np.cumsum(counts) - counts
        atoms = np.arange(counts.sum()) + np.repeat(latents.offsets[:-1][chosen] - begins, counts)
        z = torch.from_numpy(latents.mean[atoms]).to(device)
        told = None
        if species is not None:
            told = torch.from_numpy(np.asarray(species)[atoms].astype(np.int64)).to(device)
        decoded = module.generate(z, Layout.of(counts, device), told)
        coordinates[atoms] = coordinates_of(decoded.pairs).double().cpu().numpy()
        lattices[chosen] = lattices_of(decoded.metric.double().cpu().numpy(), counts)
        if decoded.species_logits is None:
            assert species is not None
            found[atoms] = np.asarray(species)[atoms]
        else:
            found[atoms] = table[decoded.species_logits.argmax(1).cpu().numpy()]
    return Crystals(found, coordinates, lattices, latents.offsets, latents.names)


def _require_known_species(
    module: CrystalModule, species: NDArray[np.integer], latents: Latents
) -> None:
    if species.shape != (len(latents.mean),):
        raise DataError(
            f"{species.size} elements were given for {len(latents.mean)} atoms",
            where="species",
            hint="give one atomic number for every row of the latents",
        )
    strange = np.flatnonzero(~np.isin(species, module.elements))
    if strange.size:
        number = int(species[strange[0]])
        name = SYMBOLS[number] if 0 < number < len(SYMBOLS) else f"atomic number {number}"
        crystal = int(np.searchsorted(latents.offsets, strange[0], side="right")) - 1
        raise DataError(
            f"the model was not trained on {name}",
            where=str(latents.names[crystal]) or f"crystal {crystal}",
            hint="give other elements, or train a model on data that have them",
        )


def _portions(counts: NDArray[np.int64], order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut crystals, sorted by size, into portions of about 16,000 atoms."""
    total = np.cumsum(counts[order])
    cuts = np.searchsorted(total, np.arange(16_384, total[-1:].sum(), 16_384))
    return [part for part in np.split(order, np.unique(cuts)) if len(part)]


# A trained crystal VAE: structures in, latents, and structures out.


@dataclass(frozen=True)
class CrystalModel:
    """A network with all that belongs to it.

    Attributes
    ----------
    module
        In evaluation mode.
    prior
        Fitted to the latents of the training crystals; None without one.
    properties
        Predicts properties from latents; None without one.
    provenance
        Who made it, from what and how; JSON-able.
    """

    module: CrystalModule
    prior: LatentPrior | None = None
    properties: PropertyHead | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def latent(self) -> int:
        """Latent dimensions of an atom."""
        return self.module.architecture.latent

    @property
    def species_given(self) -> bool:
        """Whether the decoder is told the elements instead of decoding them."""
        return self.module.architecture.species_given

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that it knows."""
        return self.module.elements

    def encode(self, crystals: Crystals) -> Latents:
        """Return the posterior of every atom, in the order of the input.

        Neither rotation, origin, order of atoms nor choice of the cell changes the set
        of latents of a crystal. Atoms that a symmetry of the crystal exchanges may
        exchange their latents.

        Raises
        ------
        DataError
            If a crystal holds an element that the model was not trained on.
        """
        return encode(self.module, canonicalize(crystals).crystals)

    def decode(self, latents: Latents, *, species: NDArray[np.integer] | None = None) -> Crystals:
        """Decode latents, in their order; cells come in standard orientation.

        Parameters
        ----------
        latents
            Means or draws.
        species
            Atomic numbers, shape (N,): needed where the model is told them, and refused
            where it is not.
        """
        if self.species_given != (species is not None):
            raise DataError(
                "this model is told the elements: give species"
                if self.species_given
                else "this model decodes the elements itself: species cannot be given"
            )
        return decode(self.module, latents, species=species)

    def reconstruct(self, crystals: Crystals) -> Crystals:
        """Decode the posterior means, in the given cell, origin, orientation and order.

        Parameters
        ----------
        crystals
            A model that is told the elements takes them from here.
        """
        frame = canonicalize(crystals)
        latents = encode(self.module, frame.crystals)
        given = crystals.species if self.species_given else None
        return frame.restore(decode(self.module, latents, species=given), crystals)

    def sample(
        self,
        number: int,
        *,
        where: Mapping[str, str | float] | None = None,
        guidance: float = 1.0,
        temperature: float = 1.0,
        steps: int = 10,
        tries: int = TRIES,
        symmetrise: float | None = None,
        seed: int = 0,
        tell: Callable[[str], None] | None = None,
    ) -> Generated:
        """Generate exactly ``number`` valid crystals; see `variolite.crystals.generation.generate`.

        Raises
        ------
        RunFolderError
            If no prior was fitted.
        """
        if self.prior is None:
            raise RunFolderError(
                "the model has no prior to draw from, or one that this version no longer has",
                hint="if `variolite fit` was stopped early, give the same command again; "
                "otherwise fit one with `variolite crystals prior RUN --data PATH --set "
                "prior.kind=flow`",
            )
        return generate(
            self,
            self.prior,
            number,
            where=where,
            guidance=guidance,
            temperature=temperature,
            steps=steps,
            tries=tries,
            symmetrise=symmetrise,
            seed=seed,
            tell=tell,
        )


# The model file of a crystal VAE, with its prior and its property head.


FORMAT = 1
KIND = "variolite.crystal_vae"

_MIGRATIONS: Mapping[int, Migration] = {}

_PARTS = ("prior", "properties")

_ARCHITECTURE = TypeAdapter(CrystalArchitecture)
_WEIGHTS = TypeAdapter(LossWeights)


def save_crystal_model(folder: Path, model: CrystalModel) -> None:
    """Write a model into a folder; nothing of the training crystals goes with it."""
    module = model.module
    tensors: dict[str, Tensor] = {f"vae/{k}": v for k, v in module.state_dict().items()}
    content: dict[str, Any] = {
        "network": "transformer",
        "architecture": asdict(module.architecture),
        "weights": asdict(module.weights),
        "provenance": dict(model.provenance),
    }
    if model.prior is not None:
        own, content["prior"] = prior_state(model.prior)
        tensors |= {f"prior/{name}": value for name, value in own.items()}
    if model.properties is not None:
        own, content["properties"] = head_state(model.properties)
        tensors |= {f"properties/{name}": value for name, value in own.items()}
    write_signed(folder, KIND, FORMAT, content, tensors)


def load_crystal_model(folder: Path, device: torch.device | None = None) -> CrystalModel:
    """Read a model, whatever device it was trained on.

    Raises
    ------
    ModelFileError
        If a file is missing, foreign, of another kind, truncated, altered or too new.
    """
    description = read_description(folder, KIND, FORMAT, _MIGRATIONS, "a crystal model")
    tensors = read_weights(folder, description)
    try:
        module = _module(description, folder)
        fill(module, _below("vae/", tensors), folder)
        prior = properties = None
        if "prior" in description:
            prior = prior_from(_below("prior/", tensors), description["prior"])
        if "properties" in description:
            properties = head_from(_below("properties/", tensors), description["properties"])
        provenance = dict(description["provenance"])
        described = ("vae/", *(f"{part}/" for part in _PARTS if part in description))
        extra = sorted(name for name in tensors if not name.startswith(described))
        if extra:
            raise ValueError(f"nothing is said of the tensor {extra[0]}")
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        if isinstance(e, ModelFileError) and str(folder) in (e.where or ""):
            raise
        what = e.what if isinstance(e, VarioliteError) else f"{type(e).__name__}: {e}"
        raise ModelFileError(
            f"the model description does not hold together ({' '.join(what.split())})",
            where=str(folder / DESCRIPTION),
            hint="save the model again with the version that trained it",
        ) from None
    module.to(device or torch.device("cpu")).eval()
    return CrystalModel(module, prior, properties, provenance)


def _module(description: Mapping[str, Any], folder: Path) -> CrystalModule:
    if description["network"] == "source":
        raise ModelFileError(
            "this model has the network of the published system, which Variolite no longer has",
            where=str(folder / DESCRIPTION),
            hint="train the recipe crystals/source again: it is our network with its settings",
        )
    if description["network"] != "transformer":
        raise ValueError(f"there is no network called {description['network']!r:.40}")
    architecture = _ARCHITECTURE.validate_python(description["architecture"])
    return CrystalModule(architecture, _WEIGHTS.validate_python(description["weights"]))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
