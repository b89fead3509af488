"""Virtual environments for the peers, apart from the project's own.

``python -m benchmarks.speed.peers`` makes them from public package names. They hold the same
torch as the project, so that only the libraries differ.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PEERS = {"pythae": "pythae==0.1.2", "scvi-tools": "scvi-tools==1.4.2"}
"""Environment name to what is installed there; 1.4.2 is the last scvi-tools for Python 3.11."""

_CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


def default_folder() -> Path:
    """Where the environments lie: ``$VARIOLITE_PEERS``, or a folder in the user's cache."""
    named = os.environ.get("VARIOLITE_PEERS")
    return Path(named) if named else Path.home() / ".cache" / "variolite" / "peers"


def interpreter(folder: Path, peer: str | None) -> Path | None:
    """The Python of a peer's environment, ours for None, None where it is not installed.

    Parameters
    ----------
    folder : Path
    peer : str or None

    Returns
    -------
    Path or None
    """
    if peer is None:
        return Path(sys.executable)
    place = folder / peer / ("Scripts" if os.name == "nt" else "bin") / "python"
    return place if place.exists() else None


def install(folder: Path) -> None:
    """Make every environment that is not there yet.

    Parameters
    ----------
    folder : Path
        Made where missing.
    """
    for peer, package in PEERS.items():
        if interpreter(folder, peer) is not None:
            continue
        subprocess.run([sys.executable, "-m", "venv", str(folder / peer)], check=True)
        python = interpreter(folder, peer)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "-c", str(_CONSTRAINTS), "torch", package],
            check=True,
        )


if __name__ == "__main__":
    install(Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder())
