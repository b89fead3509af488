"""``variolite demo crystals``: textbook crystals through the models of the package."""

from __future__ import annotations

from pathlib import Path

import typer

from variolite.cli.progress import note, waiting

__all__ = ["demo_crystals"]

MODEL = "mp_20"
SAMPLES = 60


def demo_crystals(out: Path) -> None:
    """Encode, reconstruct and sample without training, and print the report's path."""
    import numpy as np

    from variolite.crystals.runs import load_run, shipped_run
    from variolite.crystals.runs.scoring import score_crystal_run
    from variolite.crystals.runs.shipped import copy_shipped
    from variolite.crystals.structures import textbook_crystals, write_store, write_structures
    from variolite.errors import ModelFileError
    from variolite.report import write_report
    from variolite.training import RunFolder

    home = shipped_run(MODEL)
    if home is None:
        raise ModelFileError(
            f"the model {MODEL} did not come with this installation",
            mend="install variolite again, from its own wheel or repository",
        )
    folder = out / "crystals"
    run = RunFolder(folder)
    if not run.finished:
        run.path.parent.mkdir(parents=True, exist_ok=True)
        copy_shipped(MODEL, run.path)
    with waiting(f"loading the model {MODEL}, trained on Materials Project crystals"):
        model = load_run(run)
    crystals = textbook_crystals()
    known = np.isin(crystals.species, np.array(model.elements))
    fits = np.bincount(crystals.owner[~known], minlength=len(crystals)) == 0
    crystals = crystals.take(fits & (crystals.counts <= 20))
    with waiting(f"encoding and reconstructing {len(crystals)} textbook crystals"):
        latents = model.encode(crystals)
        found = model.reconstruct(crystals)
    width = latents.mean.shape[1]
    note(f"{crystals.names[0]}: {crystals.counts[0]} atoms, each with a latent of {width} numbers")
    with waiting(f"sampling {SAMPLES} new crystals") as tell:
        samples = model.sample(SAMPLES, tell=tell).crystals
    with waiting("scoring the reconstructions beside random coordinates") as tell:
        score_crystal_run(run, crystals, tell=tell)
    write_store(folder / "samples.crystals", samples)
    for name, made in (("originals", crystals), ("reconstructed", found), ("samples", samples)):
        place = folder / f"{name}.extxyz"
        place.unlink(missing_ok=True)
        write_structures(made, place)
    with waiting("writing the report"):
        page = write_report(folder)
    note("sampled structures are the model's own: none was relaxed, or made in a laboratory")
    typer.echo(str(page))
