"""Match pairs of crystals: Variolite against a call of pymatgen for every pair.

The pairs are rows of published data sets against changed copies of themselves: normal
noise on every atom, random coordinates, wrong compositions, and the nearest crystal of a
training set with the right types. pymatgen gets its structures ready made; Variolite
starts from flat arrays. Both run in this process, on one thread. The verdicts of both
must be the same and their displacements within 1e-6, or the benchmark fails.

    python -m benchmarks.crystal_matching --data FOLDER            one to two minutes
    python -m benchmarks.crystal_matching --data FOLDER --rows 10  a quick look

FOLDER holds mp_20/, perov_5/, carbon_24/ and mpts_52/ with the files named below.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.pages import RESULTS, provenance, write_page
from pymatgen.analysis.structure_matcher import StructureMatcher

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.matching import (
    CDVAE,
    SETTINGS,
    Setting,
    match_pairs,
    nearest_template,
    random_coordinates,
)
from variolite.crystals.matching.pairs import (
    Matches,
    match_reduced,
    primitive_crystals,
    reduce_crystals,
)

TARGET_RATIO = 5.0
FILES = {
    "MP-20": ("mp_20/biternary_test_a.csv.gz", "mp_20/biternary_val.csv.gz"),
    "Perov-5": ("perov_5/test.csv.gz", "perov_5/train.csv.gz"),
    "Carbon-24 (8 atoms)": ("carbon_24/htl_val.csv.gz", "carbon_24/htl_train.csv.gz"),
    "MPTS-52": ("mpts_52/val.csv.gz", "mpts_52/val.csv.gz"),
}
PRIMITIVE = Setting(CDVAE, primitive=True)
BENCHED = tuple(setting for setting in SETTINGS if not setting.primitive or setting == PRIMITIVE)


@dataclass(frozen=True)
class Compared:
    """One kind of pairs under one setting: CPU seconds of both, and what they say."""

    data: str
    kind: str
    setting: str
    pairs: int
    pymatgen_rms_s: float
    pymatgen_fit_s: float
    ours_s: float
    matched: float
    fits: float
    mean_rms: float | None
    verdicts_that_differ: int
    largest_difference: float


def noisy(true: Crystals, deviation: float, seed: int) -> Crystals:
    draws = np.random.default_rng(seed).normal(size=true.coordinates.shape) * deviation
    inverse = np.linalg.inv(true.lattices)[true.owner]
    return with_coordinates(true, true.coordinates + np.einsum("ni,nij->nj", draws, inverse))


def with_coordinates(true: Crystals, coordinates: np.ndarray) -> Crystals:
    return Crystals(true.species, coordinates, true.lattices, true.offsets, true.names)


def with_wrong_types(true: Crystals) -> Crystals:
    """The first atom of every crystal becomes another element."""
    species = true.species.copy()
    species[true.offsets[:-1]] = species[true.offsets[:-1]] % 80 + 1
    return Crystals(species, true.coordinates, true.lattices, true.offsets, true.names)


def kinds_of(true: Crystals, training: Crystals) -> dict[str, Crystals]:
    return {
        "noise of 0.05 Å": noisy(true, 0.05, 0),
        "noise of 0.2 Å": noisy(true, 0.2, 1),
        "random coordinates": random_coordinates(true, seed=2),
        "nearest template": nearest_template(true, training, seed=3),
        "wrong composition": with_wrong_types(true),
    }


def ours(first: Crystals, second: Crystals, setting: Setting) -> Matches:
    if not setting.primitive:
        return match_pairs(first, second, setting.tolerance)
    cells = (primitive_crystals(reduce_crystals(part)) for part in (first, second))
    return match_reduced(*cells, setting.tolerance)


def structure_matcher(setting: Setting) -> StructureMatcher:
    at = setting.tolerance
    limits = {"ltol": at.lengths, "stol": at.sites, "angle_tol": at.angles}
    return StructureMatcher(**limits, primitive_cell=setting.primitive, scale=at.scaled)


def compare(data: str, kind: str, first: Crystals, second: Crystals) -> list[Compared]:
    structures = [[to_pymatgen(crystal) for crystal in part] for part in (first, second)]
    pairs = list(zip(*structures, strict=True))
    found = []
    for setting in BENCHED:
        matcher = structure_matcher(setting)
        clock = [time.process_time()]
        distances = [matcher.get_rms_dist(*pair) for pair in pairs]
        clock.append(time.process_time())
        fits = np.array([matcher.fit(*pair) for pair in pairs])
        clock.append(time.process_time())
        match = ours(first, second, setting)
        clock.append(time.process_time())
        rms = np.array([np.nan if d is None else d[0] for d in distances])
        matched = ~np.isnan(rms)
        differ = int((matched != match.matched).sum() + (fits != match.fits).sum())
        both = matched & match.matched
        found.append(
            Compared(
                data,
                kind,
                setting.name,
                len(pairs),
                *np.diff(clock).tolist(),
                matched=float(match.matched.mean()),
                fits=float(match.fits.mean()),
                mean_rms=float(rms[matched].mean()) if matched.any() else None,
                verdicts_that_differ=differ,
                largest_difference=float(np.abs(rms - match.rms)[both].max(initial=0.0)),
            )
        )
    return found


def run(folder: Path, rows: int, write: bool) -> None:
    warnings.simplefilter("ignore")
    command = f"python -m benchmarks.crystal_matching --data FOLDER --rows {rows}"
    made = provenance(command, ("pymatgen", "numpy"))
    everything: list[Compared] = []
    for data, (test, train) in FILES.items():
        crystals = load_crystals(folder / test)
        draw = np.random.default_rng(0).permutation(len(crystals))
        true = crystals.take(draw[:rows])
        training = crystals.take(draw[rows:]) if test == train else load_crystals(folder / train)
        match_pairs(true, true, CDVAE)  # imports what is imported late
        for kind, changed in kinds_of(true, training).items():
            everything += compare(data, kind, changed, true)
        print(f"{data}: done", flush=True)
    wrong = sum(part.verdicts_that_differ for part in everything)
    largest = max(part.largest_difference for part in everything)
    results = {
        "rows of each data set": rows,
        "pairs": sum(part.pairs for part in everything),
        "verdicts": 2 * sum(part.pairs for part in everything),
        "verdicts that differ": wrong,
        "largest difference of a displacement": largest,
        "target": TARGET_RATIO,
        "total": summed(everything),
        "parts": [vars(part) for part in everything],
    }
    lines = page(results, everything)
    print("\n".join(lines))
    if wrong or largest > 1e-6:
        raise SystemExit(f"{wrong} verdicts differ, displacements by up to {largest:g}")
    if write:
        write_page(RESULTS / "crystal_matching", "Matching pairs of crystals", lines, results, made)


def summed(parts: Sequence[Compared]) -> dict[str, float | int]:
    """Milliseconds a pair, and how many times faster ours is."""
    pairs = sum(part.pairs for part in parts)
    rms, fit, own = (
        1000 * sum(getattr(part, name) for part in parts) / pairs
        for name in ("pymatgen_rms_s", "pymatgen_fit_s", "ours_s")
    )
    return {
        "pairs": pairs,
        "get_rms_dist_ms": round(rms, 2),
        "fit_ms": round(fit, 2),
        "ours_ms": round(own, 3),
        "ratio_rms": round(rms / own, 1),
        "ratio_both": round((rms + fit) / own, 1),
    }


def page(results: Mapping[str, Any], parts: Sequence[Compared]) -> list[str]:
    lines = [
        "CPU time of one process on one thread.",
        "",
        f"{results['rows of each data set']} rows of each data set, drawn at random, against five "
        f"changed copies of each, under four settings: {results['pairs']:,} pairs, "
        f"{results['verdicts']:,} verdicts (`get_rms_dist` and `fit`), of which "
        f"{results['verdicts that differ']} differ; largest difference of a displacement "
        f"{results['largest difference of a displacement']:.1e}.",
        "",
        "| pairs | get_rms_dist, ms | fit, ms | ours (both), ms | times faster than "
        "get_rms_dist | than both |",
        "|---|---|---|---|---|---|",
    ]

    def add(name: str, chosen: Sequence[Compared]) -> None:
        s = summed(chosen)
        lines.append(
            f"| {name} | {s['get_rms_dist_ms']:.1f} | {s['fit_ms']:.1f} | {s['ours_ms']:.2f} | "
            f"{s['ratio_rms']:g} | {s['ratio_both']:g} |"
        )

    add("**all**", parts)
    for attribute in ("data", "setting", "kind"):
        for value in dict.fromkeys(getattr(part, attribute) for part in parts):
            add(value, [part for part in parts if getattr(part, attribute) == value])
    lines += [
        "",
        f"Target: at least {TARGET_RATIO:g} times faster with the same verdicts. Structures of "
        "pymatgen are made before the clock starts; the reduction of cells is inside it on both "
        "sides, and pymatgen keeps the reduced cells of the last 300 structures. *unreduced* is "
        "`primitive_cell=False`.",
        "",
        "## What matches",
        "",
        "Share of the rows above by `get_rms_dist` (mean displacement of the matched, in "
        "(V/n)^(1/3)) / by `fit`. Cells and types are the right ones, but for the templates, "
        "whose types alone are.",
        "",
        "| data | copies | " + " | ".join(setting.name for setting in BENCHED) + " |",
        "|---|---|" + "---|" * len(BENCHED),
    ]
    for data in dict.fromkeys(part.data for part in parts):
        for kind in dict.fromkeys(part.kind for part in parts):
            row = [part for part in parts if (part.data, part.kind) == (data, kind)]
            cells = [
                f"{part.matched:.3f} ({'-' if part.mean_rms is None else f'{part.mean_rms:.3f}'}) "
                f"/ {part.fits:.3f}"
                for part in row
            ]
            lines.append(f"| {data} | {kind} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--rows", type=int, default=40, help="rows of each data set")
    parser.add_argument("--dry", action="store_true", help="write no results")
    options = parser.parse_args()
    run(options.data, options.rows, not options.dry)


if __name__ == "__main__":
    main()
