"""Trained models that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["model_card", "shipped_models", "shipped_run"]


def _root() -> Path:
    return Path(str(files("variolite"))) / "models"


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
