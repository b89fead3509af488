"""A trained crystal VAE: encoding, decoding, and its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals, Latents, ragged_places
from variolite.crystals.elements import SYMBOLS
from variolite.crystals.files.store import fingerprint
from variolite.crystals.generation.prior import LatentPrior, prior_from, prior_state
from variolite.crystals.generation.properties import PropertyHead, head_from, head_state
from variolite.crystals.generation.sampling import Generated, Sampling, generate
from variolite.crystals.generation.selection import Selection
from variolite.crystals.geometry.frame import Frame, canonical
from variolite.crystals.geometry.periodic import has_cell
from variolite.crystals.model.batch import (
    CrystalBatch,
    Layout,
    coordinates_of,
    evaluation_batches,
    lattices_of,
    portions,
)
from variolite.crystals.model.network import CrystalModule
from variolite.crystals.recipe import CrystalArchitecture, LossWeights
from variolite.errors import DataError, ModelFileError, RunFolderError
from variolite.training.storage import (
    module_with,
    read_description,
    read_weights,
    reading_model,
    write_signed,
)

# Between crystals and the network: the canonical frame, encoding and decoding.

DECODED_ATOMS = 16_384  # In one batch, about.


def canonicalize(crystals: Crystals) -> Frame:
    """Put crystals into the frame that the network sees them in.

    DataError if one has no atoms, no cell, or numbers that are not finite.
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


def require_known(
    elements: Sequence[int], species: NDArray[np.integer], crystals: Crystals | Latents
) -> None:
    """Refuse crystals with an element that a network was not trained on, and name the first."""
    unknown = np.flatnonzero(~np.isin(species, elements))
    if not unknown.size:
        return
    number = int(species[unknown[0]])
    place = int(np.searchsorted(crystals.offsets, unknown[0], side="right")) - 1
    name = SYMBOLS[number] if 0 < number < len(SYMBOLS) else f"atomic number {number}"
    raise DataError(
        f"the model was not trained on {name}",
        where=str(crystals.names[place]) or f"crystal {place}",
        hint="leave such structures out, or train a model on data that have them",
    )


@torch.no_grad()
def encode(module: CrystalModule, crystals: Crystals) -> Latents:
    """Encode crystals that are in the canonical frame; posterior means and log-variances.

    DataError if one holds an element that the network was not trained on.
    """
    require_known(module.elements, crystals.species, crystals)
    latent = module.architecture.latent
    mean = np.empty((len(crystals.species), latent), dtype=np.float32)
    log_variance = np.empty_like(mean)
    whole = CrystalBatch.of(crystals, next(module.parameters()).device)
    for batch in evaluation_batches(whole, latent, noise_seed=None):
        posterior = module.infer(batch)
        # Batches are sorted by size: their atoms go back to the places that they came from.
        atoms = crystals.atoms_of(batch.order.cpu().numpy())
        mean[atoms] = posterior.mean[0].cpu().numpy()
        log_variance[atoms] = posterior.clamped_log_variance[0].cpu().numpy()
    return Latents(mean, log_variance, crystals.offsets, crystals.names)


@torch.no_grad()
def decode(
    module: CrystalModule, latents: Latents, *, species: NDArray[np.integer] | None = None
) -> Crystals:
    """Decode latents to crystals in the canonical frame, by a module in evaluation mode.

    ``species`` are atomic numbers, (N,), where the module is given them.
    """
    width = module.architecture.latent
    if latents.mean.shape[1] != width:
        raise DataError(
            f"the latents have {latents.mean.shape[1]} dimensions, the model has {width}",
            hint="decode latents with the model that encoded them",
        )
    given = None if species is None else np.asarray(species)
    if given is not None:
        if given.shape != (len(latents.mean),):
            raise DataError(
                f"{given.size} elements were given for {len(latents.mean)} atoms",
                where="species",
                hint="give one atomic number for every row of the latents",
            )
        require_known(module.elements, given, latents)
    device = next(module.parameters()).device
    table = np.array(module.elements, dtype=np.uint8)
    found = np.empty(len(latents.mean), dtype=np.uint8)
    coordinates = np.empty((len(latents.mean), 3))
    lattices = np.empty((len(latents), 3, 3))
    for chosen in portions(latents.counts, DECODED_ATOMS):
        counts = latents.counts[chosen]
        atoms = ragged_places(latents.offsets[:-1][chosen], counts)
        z = torch.from_numpy(latents.mean[atoms]).to(device)
        known = None if given is None else torch.from_numpy(given[atoms]).to(device).long()
        decoded = module.generate(z, Layout.of(counts, device), known)
        coordinates[atoms] = coordinates_of(decoded.pairs).double().cpu().numpy()
        lattices[chosen] = lattices_of(decoded.log_metric.double().cpu().numpy(), counts)
        if decoded.species_logits is not None:
            found[atoms] = table[decoded.species_logits.argmax(1).cpu().numpy()]
    if given is not None and module.architecture.species_given:
        found[:] = given
    return Crystals(found, coordinates, lattices, latents.offsets, latents.names)


# A trained crystal VAE: structures in, latents, and structures out.


@dataclass(frozen=True)
class CrystalModel:
    """A network in evaluation mode with all that belongs to it.

    The prior is fitted to the latents of the training crystals, the property head predicts
    properties from latents, the selection makes samples obey those that are asked for;
    ``provenance`` says, in plain data, who made it, from what and how.
    """

    module: CrystalModule
    prior: LatentPrior | None = None
    properties: PropertyHead | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    selection: Selection | None = None

    @property
    def latent(self) -> int:
        return self.module.architecture.latent

    @property
    def species_given(self) -> bool:
        """Whether the decoder is given the elements instead of decoding them."""
        return self.module.architecture.species_given

    @property
    def elements(self) -> tuple[int, ...]:
        return self.module.elements

    @property
    def primitive(self) -> bool:
        """Whether the training structures were reduced to their primitive cells."""
        return bool(self.provenance.get("data", {}).get("primitive", False))

    @property
    def largest(self) -> int | None:
        """Atoms of the largest training structure, where that is known."""
        known = self.provenance.get("data", {}).get("largest")
        return self.prior.vocabulary.largest if known is None and self.prior else known

    def trained_on(self, crystals: Crystals) -> bool:
        """Whether these are the very structures of which a part trained it."""
        known = self.provenance.get("data", {}).get("fingerprint")
        return bool(known == fingerprint(crystals))

    def encode(self, crystals: Crystals) -> Latents:
        """Return the posterior of every atom, in the order of the input.

        Neither rotation, origin, order of atoms nor choice of the cell changes the set of latents
        of a crystal. Atoms that a symmetry of the crystal exchanges may exchange their latents.
        """
        return encode(self.module, canonicalize(crystals).crystals)

    def decode(self, latents: Latents, *, species: NDArray[np.integer] | None = None) -> Crystals:
        """Decode latents, in their order; cells come in standard orientation.

        ``species``, (N,), are needed where the model is given them, and refused where it is not.
        """
        if self.species_given != (species is not None):
            raise DataError(
                "this model is given the elements: give species"
                if self.species_given
                else "this model decodes the elements itself: species cannot be given"
            )
        return decode(self.module, latents, species=species)

    def reconstruct(self, crystals: Crystals) -> Crystals:
        """Decode the posterior means, in the given cell, origin, orientation and order."""
        frame = canonicalize(crystals)
        latents = encode(self.module, frame.crystals)
        given = crystals.species if self.species_given else None
        return frame.restore(decode(self.module, latents, species=given), crystals)

    def sample(
        self,
        number: int,
        sampling: Sampling = Sampling(),
        *,
        log: Callable[[str], None] = lambda _: None,
    ) -> Generated:
        """Generate valid crystals, see `generate`; RunFolderError if no prior was fitted."""
        if self.prior is None:
            raise RunFolderError(
                "the model has no prior to draw from, or one that this version no longer has",
                hint="if `variolite fit` was stopped early, give the same command again; "
                "otherwise fit one with `variolite crystals prior RUN --data PATH --set "
                "prior.kind=flow`",
            )
        # A decoder that is not given the elements ignores those proposed.
        decoder = partial(decode, self.module)
        return generate(decoder, self.prior, number, sampling, selection=self.selection, log=log)


# The model file of a crystal VAE, with its prior and its property head.

FORMAT = 2
KIND = "variolite.crystal_vae"

_FORMER_TENSORS = {
    "around_encoder": "encoder_skip",
    "around_decoder": "decoder_skip",
    "to_metric": "to_log_metric",
    "metric_mean": "log_metric_mean",
    "metric_scale": "log_metric_scale",
}
"""First parts of the names that tensors of the network had in format 1."""


def from_format_1(content: dict[str, Any]) -> dict[str, Any]:
    """Take what depends on the data out of the architecture, and rename its keys."""
    if content.get("network", "transformer") != "transformer":
        raise ModelFileError(
            "the model has the network of the published system, which is no longer there",
            hint="train crystals/source again: it is our network with the published settings",
        )
    architecture = dict(content["architecture"])
    data = {key: architecture.pop(key) for key in ("elements", "features")}
    architecture["fourier_features"] = architecture.pop("waves")
    architecture["given"] = ["species"] if architecture.pop("species_given") else []
    return {**content, **data, "architecture": architecture}


def names_from_format_1(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a network of format 1 under their names today."""
    parts = ((name.split("."), value) for name, value in tensors.items())
    return {".".join([_FORMER_TENSORS.get(h, h), *rest]): v for (h, *rest), v in parts}


def network_content(module: CrystalModule) -> dict[str, Any]:
    """What, besides its tensors, makes a network; plain data."""
    return {
        "architecture": module.architecture.model_dump(mode="json"),
        "weights": module.weights.model_dump(mode="json"),
        "elements": list(module.elements),
        "features": module.features,
    }


def network_from(content: Mapping[str, Any], seed: int = 0) -> CrystalModule:
    """Make the network of `network_content`, with untrained weights."""
    return CrystalModule(
        CrystalArchitecture.model_validate(content["architecture"]),
        LossWeights.model_validate(content["weights"]),
        content["elements"],
        features=content["features"],
        seed=seed,
    )


def save_crystal_model(folder: Path, model: CrystalModel) -> None:
    """Write a model into a folder; nothing of the training crystals goes with it."""
    tensors: dict[str, Tensor] = {f"vae/{k}": v for k, v in model.module.state_dict().items()}
    content = {**network_content(model.module), "provenance": dict(model.provenance)}
    if model.prior is not None:
        own, content["prior"] = prior_state(model.prior)
        tensors |= {f"prior/{name}": value for name, value in own.items()}
    heads = {"properties": model.properties}
    if model.selection is not None:
        heads |= vars(model.selection)
    for part, head in heads.items():
        if head is not None:
            own, content[part] = head_state(head)
            tensors |= {f"{part}/{name}": value for name, value in own.items()}
    write_signed(folder, KIND, FORMAT, content, tensors)


def load_crystal_model(folder: Path, device: torch.device | None = None) -> CrystalModel:
    """Read a model, whatever device it was trained on.

    ModelFileError if a file is missing, foreign, of another kind, truncated, altered or too new.
    """
    with reading_model(folder):
        description = read_description(folder, KIND, FORMAT, {1: from_format_1}, "a crystal model")
        tensors = read_weights(folder, description)
        own = _below("vae/", tensors)
        own = names_from_format_1(own) if description["format"] == 1 else own
        module = module_with(partial(network_from, description), own, folder)
        prior = None
        described = ["vae/"]
        if "prior" in description:
            described.append("prior/")
            prior = prior_from(_below("prior/", tensors), description["prior"])
        heads: dict[str, PropertyHead] = {}
        for part in ("properties", "chooser", "independent"):
            if part in description:
                described.append(f"{part}/")
                heads[part] = head_from(_below(described[-1], tensors), description[part])
        properties = heads.pop("properties", None)
        selection = Selection(**heads) if heads else None
        provenance = dict(description["provenance"])
        extra = sorted(name for name in tensors if not name.startswith(tuple(described)))
        if extra:
            raise ValueError(f"the tensor {extra[0]} is not described")
    module.to(device or torch.device("cpu")).eval()
    return CrystalModel(module, prior, properties, provenance, selection)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
