"""The crystal VAE as one object: fit, encode, decode, reconstruct, sample, save, load."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystal_model import CrystalModel, load_crystal_model, save_crystal_model
from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.files.formats import from_ase, from_pymatgen
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.generation.interpolation import interpolate
from variolite.crystals.generation.prior import LatentPrior
from variolite.crystals.generation.sampling import Sampling
from variolite.crystals.recipe import CrystalRecipe, load_crystal_recipe
from variolite.crystals.run import train_crystal_run
from variolite.errors import DataError, ModelFileError, nearest
from variolite.progress import Progress
from variolite.shipped import shipped_models, shipped_run
from variolite.training import EpochRecord, RunFolder, read_history


class CrystalVAE:
    """A variational autoencoder of crystals.

    Structures may be given as `Crystals`, one `Crystal`, pymatgen ``Structure`` or ASE
    ``Atoms`` objects (one or many), or as the path of files. None of them is changed.

    Parameters
    ----------
    recipe
        Name of a recipe, path of a YAML file, or a recipe.
    overrides
        ``key.subkey=value`` each.
    seed
        Overrides ``training.seed``.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Examples
    --------
    >>> from variolite import CrystalVAE
    >>> from variolite.crystals import textbook_crystals
    >>> vae = CrystalVAE.load("mp_20")
    >>> metals = textbook_crystals().take(slice(0, 3))
    >>> vae.transform(metals).shape
    (3, 16)
    >>> bool((vae.reconstruct(metals).species == metals.species).all())
    True
    """

    def __init__(
        self,
        recipe: str | Path | CrystalRecipe = "crystals/mp_20/vae_dng",
        *,
        overrides: Iterable[str] = (),
        seed: int | None = None,
        device: str = "auto",
    ) -> None:
        changes = [*overrides, *(() if seed is None else (f"training.seed={seed}",))]
        if isinstance(recipe, CrystalRecipe):
            if changes:
                raise DataError(
                    "overrides go with the name of a recipe, not with a recipe",
                    hint="load it with load_crystal_recipe(name, overrides)",
                )
            self.recipe = recipe
        else:
            self.recipe = load_crystal_recipe(recipe, changes)
        self.device = device
        self._model: CrystalModel | None = None
        self.history_: list[EpochRecord] = []

    @property
    def model(self) -> CrystalModel:
        """The trained model; DataError before `fit`."""
        if self._model is None:
            raise DataError("this CrystalVAE is not fitted yet", hint="call fit first, or load one")
        return self._model

    def fit(self, structures: Any, *, progress: Progress | None = None) -> CrystalVAE:
        """Train on structures, of which the recipe's split holds some out.

        Parameters
        ----------
        structures
            At least three distinct formulas.
        progress
            Where progress is reported; silent by default.
        """
        crystals = as_crystals(structures)
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "run"
            run, self._model = train_crystal_run(
                self.recipe, crystals, place, device=self.device, progress=progress
            )
            self.history_ = read_history(run.history_file)
        return self

    def encode(self, structures: Any) -> Latents:
        """Posterior means and log-variances of every atom; see `CrystalModel.encode`."""
        return self.model.encode(as_crystals(structures))

    def transform(self, structures: Any) -> NDArray[np.float32]:
        """One vector per structure: posterior means averaged over its atoms, (B, L)."""
        return self.encode(structures).pooled

    def decode(self, latents: Latents, *, species: NDArray[np.integer] | None = None) -> Crystals:
        """Turn latents into structures; see `CrystalModel.decode`."""
        if not isinstance(latents, Latents):
            raise DataError(
                f"latents of type {type(latents).__name__} are not understood",
                where="decode",
                hint="give Latents, as encode returns them",
            )
        return self.model.decode(latents, species=species)

    def reconstruct(self, structures: Any) -> Crystals:
        """Encode and decode, in the given cell, origin, orientation and order of atoms."""
        return self.model.reconstruct(as_crystals(structures))

    def sample(
        self, number: int, *, where: Mapping[str, str | float] | None = None, **settings: Any
    ) -> Crystals:
        """Generate exactly ``number`` valid structures; ``settings`` are those of `Sampling`."""
        return self.model.sample(number, Sampling(where or {}, **settings)).crystals

    def interpolate(self, first: Any, second: Any, steps: int = 9) -> Crystals:
        """Decode a path between two structures of the same number of atoms.

        See `variolite.crystals.generation.interpolation.interpolate`.
        """
        return interpolate(self.model, _one(first), _one(second), steps)

    @property
    def prior(self) -> LatentPrior | None:
        return self.model.prior

    def save(self, folder: str | Path) -> None:
        """Write the model into a folder: tensors and JSON, no pickle."""
        save_crystal_model(Path(folder), self.model)

    @classmethod
    def load(cls, source: str | Path) -> CrystalVAE:
        """Load a saved model, a run folder, or a model that comes with the package.

        Parameters
        ----------
        source
            A folder, or a name such as ``perov_5`` or ``mp_20``.

        Raises
        ------
        ModelFileError
            If there is none, or it is damaged, foreign or too new.
        """
        folder = Path(source)
        if not folder.exists():
            found = shipped_run(str(source))
            if found is None:
                close = nearest(str(source), shipped_models())
                known = ", ".join(shipped_models()) or "none"
                raise ModelFileError(
                    "there is no such folder, and no such model comes with the package",
                    where=str(source),
                    hint=f"did you mean {close}?" if close else f"there are: {known}",
                )
            folder = found
        run = RunFolder(folder)
        vae = cls(run.recipe()) if run.finished else cls()
        vae._model = load_crystal_model(run.model_folder if run.finished else folder)
        if run.finished and run.history_file.is_file():
            vae.history_ = read_history(run.whole(run.history_file))
        return vae


def as_crystals(structures: Any) -> Crystals:
    """Make `Crystals` of whatever structures a user has; DataError if they are none."""
    if isinstance(structures, Crystals):
        return structures
    many = list(structures) if isinstance(structures, list | tuple) else [structures]
    for known, convert in _READERS:
        if many and all(known(item) for item in many):
            return convert(many)
    raise DataError(
        f"structures of type {type(structures).__name__} are not understood",
        hint="give Crystals, pymatgen Structures, ASE Atoms, or the path of files",
    )


def _is_a(library: str, name: str) -> Callable[[object], bool]:
    """Whether an object is of a class of a library that is not to be imported here."""
    return lambda item: any(
        cls.__name__ == name and cls.__module__.partition(".")[0] == library
        for cls in type(item).__mro__
    )


_READERS: Sequence[tuple[Callable[[object], bool], Callable[[list[Any]], Crystals]]] = (
    (lambda item: isinstance(item, Crystal), Crystals.of),
    (lambda item: isinstance(item, str | Path), load_crystals),
    (_is_a("pymatgen", "IStructure"), from_pymatgen),
    (_is_a("ase", "Atoms"), from_ase),
)


def _one(structures: Any) -> Crystal:
    """The only one of structures; several are no end of a path."""
    crystals = as_crystals(structures)
    if len(crystals) != 1:
        raise DataError(
            f"a path ends in one structure, and {len(crystals)} are given",
            where="interpolate",
            hint="give one, such as crystals[0]",
        )
    return crystals[0]
