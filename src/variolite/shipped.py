"""Trained models that come with the package: finding one by name, and copying its run."""

from __future__ import annotations

import shutil
from pathlib import Path

from variolite.atomic import placed
from variolite.errors import RunFolderError


def _root() -> Path:
    return Path(__file__).parent / "models"


def shipped_models() -> tuple[str, ...]:
    """Names of the trained models that come with the package."""
    root = _root()
    if not root.is_dir():
        return ()
    return tuple(sorted(p.name for p in root.iterdir() if (p / "model" / "model.json").is_file()))


def shipped_run(name: str) -> Path | None:
    """Run folder of a model that comes with the package; None if there is none of that name."""
    return _root() / name if name in shipped_models() else None


def model_card(name: str) -> str:
    """What a shipped model was trained on, what it can do and what it cannot."""
    return (_root() / name / "card.md").read_text(encoding="utf-8")


def is_shipped(folder: Path) -> bool:
    """Whether a folder is that of a model of the package, in which nothing is to be written."""
    return folder.resolve().parent == _root().resolve()


def copy_shipped(name: str, folder: Path) -> None:
    """Copy the run of a shipped model to a new place, whole or not at all.

    Raises `RunFolderError` if there is something at that place already, or it cannot be written to.
    """
    home = _root() / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(
            "is there already, and not an empty folder",
            where=str(folder),
            hint=f"Move it away, or work in another folder: a copy of {name} is to go there",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with placed(folder, folder=True) as (half, _):
            for path in sorted(p for p in home.rglob("*") if p.is_file()):
                place = half / path.relative_to(home)
                place.parent.mkdir(parents=True, exist_ok=True)
                # Without its rights: packages are often installed read-only.
                shutil.copyfile(path, place)
    except OSError as error:
        raise RunFolderError(
            f"cannot be written ({error.strerror or error})",
            where=str(folder),
            hint="Check permissions and free space",
        ) from None
