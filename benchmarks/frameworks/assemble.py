"""Frameworks assembled from building units, beside real ones through the same checks.

    python -m benchmarks.frameworks.assemble --cifs FOLDER --harvest harvest.jsonl      10 minutes

FOLDER holds the CIF files of CRAFTED; the harvest is one line of JSON per file, with what
AuToGraFS reads backwards: nets, edges of the quotient graph, units and fragments. Structures of
CoRE 2019 come from the package core-mof. A candidate is novel where no structure of the harvest has
its net with its units.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import tarfile
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.pages import RESULTS, command, provenance, table, write_page

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, densities
from variolite.crystals.files.checks import Limits
from variolite.crystals.files.reading import read_all
from variolite.frameworks.assembly.assemble import Candidate, assemble
from variolite.frameworks.assembly.compatibility import MAX_RMSD, Compatibility, arms_rmsd
from variolite.frameworks.assembly.nets import UnusableNetError, interpenetration
from variolite.frameworks.assembly.structure_checks import CHECKS, check_structure
from variolite.frameworks.assembly.unit_library import UnitLibrary, merge_units
from variolite.frameworks.description.pores import measure_pores
from variolite.scoring.intervals import bootstrap_interval
from variolite.training.workers import Workers

LIMITS = Limits(max_atoms=2_000, min_distance=0.05, volume_per_atom=(1.0, 2_000.0))
CAVITIES = 3
"""Structures of each part whose cavities are measured, as built and as published."""


def family(name: str) -> str:
    """Group of a structure: six letters of a refcode, or the text before an underscore."""
    return name[:6] if name[:6].isalpha() and name[:6].isupper() else name.split("_")[0]


def share(passed: Sequence[bool], families: Sequence[str]) -> dict[str, float]:
    """Share with an interval over families."""
    groups, codes = np.unique(families, return_inverse=True)
    hits = np.bincount(codes, np.asarray(passed, dtype=float), len(groups))
    sizes = np.bincount(codes, minlength=len(groups))
    found = bootstrap_interval(lambda w: (w @ hits / (w @ sizes))[:, None], len(groups))
    return {"share": found.mean, "low": found.low, "high": found.high, "n": len(codes)}


def spelled(value: Mapping[str, float]) -> str:
    low, high, n = 100 * value["low"], 100 * value["high"], value["n"]
    return f"{100 * value['share']:.1f} % ({low:.1f} to {high:.1f}; {n:,})"


# The ceiling: real structures.


def core_structures(number: int) -> Iterator[Crystal]:
    """Structures of CoRE 2019, spread evenly over its archive."""
    import CoRE_MOF

    archive = Path(CoRE_MOF.__file__).parent / "data" / "2019-ASR.tar.xz"
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive) as packed:
        members = [m for m in packed if m.isfile() and m.name.endswith(".cif") and m.size]
        members.sort(key=lambda member: member.name)
        wanted = {members[i].name for i in np.linspace(0, len(members) - 1, number).astype(int)}
        for member in members:
            if member.name in wanted and (file := packed.extractfile(member)):
                (Path(folder) / member.name.split("/")[-1]).write_bytes(file.read())
        yield from read_all(folder, limits=LIMITS).crystals


def ceiling(structures: Sequence[Crystal]) -> dict[str, Any]:
    """Share of real structures that pass each check, and all of them."""
    failed = [check_structure(crystal) for crystal in structures]
    families = [family(crystal.name) for crystal in structures]
    shares = {name: share([name not in f for f in failed], families) for name in CHECKS}
    shares["all checks"] = share([not f for f in failed], families)
    return shares


def crafted_ceiling(folder: Path) -> dict[str, Any]:
    return ceiling(list(read_all(folder, limits=LIMITS).crystals))


def core_ceiling(number: int) -> dict[str, Any]:
    return ceiling(list(core_structures(number)))


# What every process reads once.

PARTS = 8
RECORDS: list[Mapping[str, Any]] = []
NAMES: dict[str, dict[str, str]] = {}
LIBRARY = UnitLibrary()
FITS: dict[str, dict[int, list[str]]] = {}


def prepare(harvest: Path) -> None:
    """Read the harvest and merge its units."""
    global LIBRARY
    with harvest.open() as file:
        RECORDS[:] = sorted((json.loads(line) for line in file), key=lambda one: one["file"])
    LIBRARY, names = merge_units(
        (Path(one["file"]).stem, one.get("fragments") or {}) for one in RECORDS
    )
    NAMES.update(zip((one["file"] for one in RECORDS), names, strict=True))


# Round trip: real structures from their own net and units.


def trip_part(folder: Path, part: int) -> dict[str, Any]:
    """Rebuild structures that were read backwards into a net and units, one part of them."""
    records, names = RECORDS[part::PARTS], NAMES
    compatibility = Compatibility(LIBRARY, strict=False)
    paths = [folder / Path(record["file"]).name for record in records if record.get("nets")]
    real = {crystal.name: crystal for crystal in read_all(paths, limits=LIMITS).crystals}
    stages: Counter[str] = Counter({"read": len(records)})
    lines: list[dict[str, Any]] = []
    for record in records:
        if "error" in record:
            continue
        stages["read backwards"] += 1
        if not record["nets"]:
            continue
        stages["with a net"] += 1
        if record["rods"]:
            continue
        stages["without rods"] += 1
        own = names[record["file"]]
        counts = Counter(own.get(unit[0], unit[0]) for unit in record["units"])
        edges = ((int(u), int(v), ast.literal_eval(cell)) for (u, v, cell), _ in record["edges"])
        fold, name = max(1, interpenetration(edges)), Path(record["file"]).stem
        result = assemble(
            Candidate(name, tuple(record["nets"]), tuple(sorted(counts)), counts, fold),
            compatibility,
        )
        line = {"name": name, "fold": fold, "failure": result.failure, "first": result.first}
        line["placed"] = result.assignment is not None
        line["real_passes"] = name in real and not check_structure(real[name])
        lines.append(line)
        if result.crystal is None or name not in real:
            continue
        pair = Crystals.of([real[name], result.crystal])
        line["volume_ratio"] = float(np.divide(*densities(pair)))
        atoms = [np.bincount(c.species, minlength=119) / len(c) for c in pair]
        line["same_composition"] = bool(np.abs(atoms[0] - atoms[1]).max() < 1e-6)
        if sum("cavity" in other for other in lines) < CAVITIES:
            line["cavity"], line["real_cavity"] = (
                measure_pores(crystal)["largest_cavity_diameter"]
                for crystal in (result.crystal, real[name])
            )
    return {"stages": dict(stages), "lines": lines}


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    stages: Counter[str] = Counter()
    for part in parts:
        stages.update(part["stages"])
    return {"stages": dict(stages), "lines": [line for part in parts for line in part["lines"]]}


# Random choices.


def fits(net: str, compatibility: Compatibility) -> dict[int, list[str]]:
    """Units for each orbit of vertices of a net, and at -1 for its edges; none if unusable."""
    if net not in FITS:
        FITS[net] = {}
        with suppress(UnusableNetError):
            found = compatibility.nets[net]
            sound = [
                u for n, u in compatibility.library.items() if not compatibility.chemistry(n)[1]
            ]
            for orbit, vertex in zip(*np.unique(found.orbits, return_index=True), strict=True):
                near = (unit for unit in sound if arms_rmsd(found, vertex, unit) <= MAX_RMSD)
                FITS[net][int(orbit)] = [unit.name for unit in near]
            FITS[net][-1] = [unit.name for unit in sound if unit.arms == 2]
    return FITS[net]


def random_choices(
    number: int, compatibility: Compatibility, rng: np.random.Generator
) -> Iterator[tuple[str, list[str]]]:
    """Nets as often as they occur, with units at random from those that fit, until compatible."""
    nets = occurring_nets()
    found = 0
    while found < number:
        net = nets[rng.integers(len(nets))]
        fitting = fits(net, compatibility)
        if not fitting or not all(fitting.values()):
            continue
        units = [str(rng.choice(some)) for orbit, some in fitting.items() if orbit >= 0]
        units += [str(u) for u in rng.choice(fitting[-1], rng.integers(0, 3))]
        if not compatibility.why_not(net, units):
            found += 1
            yield net, units


def occurring_nets() -> list[str]:
    return [one["nets"][0] for one in RECORDS if one.get("nets") and not one["rods"]]


def random_part(number: int, seed: int) -> list[dict[str, Any]]:
    """Assemble random compatible choices."""
    compatibility = Compatibility(LIBRARY)
    seen = {
        (net, frozenset(NAMES[one["file"]].get(unit[0], unit[0]) for unit in one["units"]))
        for one in RECORDS
        for net in one.get("nets", ())
    }
    lines = []
    for net, units in random_choices(number, compatibility, np.random.default_rng(seed)):
        began = time.process_time()
        result = assemble(Candidate("x", (net,), tuple(sorted(set(units))), {}), compatibility)
        lines.append(
            {
                "net": net,
                "passed": result.crystal is not None,
                "first": result.first,
                "novel": (net, frozenset(units)) not in seen,
                "failed": sorted(result.checks) or [result.failure] * bool(result.failure),
                "seconds": time.process_time() - began,
            }
        )
    return lines


def by_autografs(number: int, seed: int) -> dict[str, Any]:
    """AuToGraFS alone: random blocks that its own sieve lists, at its usual gates."""
    from autografs import Autografs

    maker, rng = Autografs(), np.random.default_rng(seed)
    tally: Counter[str] = Counter()
    seconds = []
    nets = occurring_nets()
    while tally["asked"] < number:
        net = nets[rng.integers(len(nets))]
        topology = maker.topologies[net]
        options = maker.list_building_units(sieve=net)
        if len(options) != len(topology.mappings):
            continue
        tally["asked"] += 1
        chosen = {slot: str(rng.choice(some)) for slot, some in options.items()}
        began = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = maker.build(topology, mappings=chosen, max_rmsd=0.5, min_distance=0.8)
        except Exception as error:
            tally[type(error).__name__] += 1
        else:
            tally["built"] += 1
            numbers = np.array([ATOMIC_NUMBERS[symbol] for symbol in made.symbols])
            fractional = made.cart_coords @ np.linalg.inv(made.cell)
            failed = check_structure(Crystal(numbers.astype(np.uint8), fractional, made.cell))
            tally["passed"] += not failed
            tally.update(list(failed))
        seconds.append(time.process_time() - began)
    return {"counts": dict(tally), "seconds": float(np.median(seconds))}


def counted(passed: int, number: int) -> str:
    """A share of independent draws with its interval (Wilson, 95 %)."""
    p, z = passed / number, 1.96
    middle = (p + z**2 / 2 / number) / (1 + z**2 / number)
    half = z * np.sqrt(p * (1 - p) / number + z**2 / 4 / number**2) / (1 + z**2 / number)
    low, high = 100 * (middle - half), 100 * (middle + half)
    return f"{passed} of {number}, {100 * p:.1f} % ({low:.1f} to {high:.1f})"


def plain_reason(failure: str) -> str:
    """A failure without the names in it."""
    text = re.sub(r"(node|linker|cap)_\S+", r"\1", failure.removeprefix("incompatible: "))
    text = re.sub(r" \([\d.inf]+ > [\d.]+\)|'", "", text)
    text = re.sub(r"the net \S+", "the net", text)
    return re.sub(r"(of|edges of|vertex of|edge of) [a-z]{3}(-\w+)?\b", r"\1 the net", text)


def page(found: Mapping[str, Any]) -> list[str]:
    trip, drawn, alone = found["round_trip"], found["random"]["lines"], found["autografs"]
    lines, stages = trip["lines"], trip["stages"]
    built = [line for line in lines if not line["failure"]]
    placed = [line for line in lines if line["placed"]]
    ratio = np.array([line["volume_ratio"] for line in built if line.get("same_composition")])
    cavity = np.array([(li["cavity"], li["real_cavity"]) for li in built if "cavity" in li])
    passed = sum(line["passed"] for line in drawn)
    both = sum(line["passed"] and line["novel"] for line in drawn)
    first = sum(line["first"] for line in drawn)
    seconds = np.array([line["seconds"] for line in drawn])
    count = alone["counts"]
    sound = [line for line in placed if line["real_passes"]]
    off = np.abs(cavity[:, 0] - cavity[:, 1])
    deviation = np.abs(ratio - 1)
    reasons = Counter(reason for line in drawn for reason in line["failed"])
    left = Counter(plain_reason(line["failure"]) for line in lines if not line["placed"])
    return [
        "Every share is of what was asked for. Intervals are of 95 %: over refcode families for",
        "real structures, Wilson's for independent draws.",
        "",
        "## Random compatible choices",
        "",
        *table(
            ("choice of net and units", "passes all checks", "before retries"),
            [
                (
                    "compatible, by this package",
                    counted(passed, len(drawn)),
                    counted(first, len(drawn)),
                ),
                (
                    "by the sieve of AuToGraFS, built by it alone",
                    counted(count.get("passed", 0), count["asked"]),
                    "built: " + counted(count.get("built", 0), count["asked"]),
                ),
            ],
        ),
        "",
        f"Novel among those that pass: {counted(both, passed)}. Processor time for a candidate, "
        f"retries included: median {np.median(seconds):.2f} s, mean {seconds.mean():.2f} s, "
        f"longest {seconds.max():.1f} s; AuToGraFS takes {alone['seconds']:.2f} s.",
        "",
        "Why candidates fail: " + ", ".join(f"{k} {v}" for k, v in reasons.most_common(6)) + ".",
        "",
        "## The ceiling: real structures through the same checks",
        "",
        *table(
            ("check", "CRAFTED", "CoRE 2019"),
            [
                (name, spelled(found["crafted"][name]), spelled(found["core"][name]))
                for name in found["crafted"]
            ],
        ),
        "",
        "Real structures fail the check of charges mostly where ions in the pores, or hydrogen on",
        "carbon and nitrogen, are missing from the published coordinates.",
        "",
        "## Round trip: real structures from their own net and units",
        "",
        *table(("stage", "structures"), [(name, f"{n:,}") for name, n in stages.items()]),
        "",
        *table(
            ("of those without rods", ""),
            [
                ("units find places on the net", counted(len(placed), len(lines))),
                ("of these: rebuilt, all checks passed", counted(len(built), len(placed))),
                (
                    "of these, where the published structure passes too",
                    counted(sum(not line["failure"] for line in sound), len(sound)),
                ),
                (
                    "catenated among the rebuilt",
                    counted(sum(b["fold"] > 1 for b in built), len(built)),
                ),
                (
                    "volume of the rebuilt to that of the real, median (5 to 95 %)",
                    f"{np.median(ratio):.3f} ({np.quantile(ratio, 0.05):.2f} to "
                    f"{np.quantile(ratio, 0.95):.2f}; {len(ratio)})",
                ),
                ("volume within 10 %", counted(int((deviation < 0.1).sum()), len(ratio))),
                (
                    "difference of the largest cavity diameter, median",
                    f"{np.median(off):.2f} A of {np.median(cavity[:, 1]):.1f} A ({len(cavity)})",
                ),
            ],
        ),
        "",
        "Why units find no places: " + ", ".join(f"{k} {v}" for k, v in left.most_common(8)) + ".",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifs", type=Path, required=True)
    parser.add_argument("--harvest", type=Path, required=True)
    parser.add_argument("--random", type=int, default=400)
    parser.add_argument("--autografs", type=int, default=60)
    parser.add_argument("--core", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--target", type=Path, default=RESULTS / "frameworks_assemble")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.frameworks.assemble", options), ("AuToGraFS", "core-mof", "numpy")
    )
    found: dict[str, Any] = {}
    with Workers(options.workers, initializer=prepare, initargs=(options.harvest,)) as pool:
        trips = [pool.submit(trip_part, options.cifs, part) for part in range(PARTS)]
        draws = [pool.submit(random_part, options.random // PARTS, part) for part in range(PARTS)]
        alone = pool.submit(by_autografs, options.autografs, options.seed)
        crafted = pool.submit(crafted_ceiling, options.cifs)
        core = pool.submit(core_ceiling, options.core)
        found["crafted"], found["core"] = crafted.result(), core.result()
        found["round_trip"] = joined([part.result() for part in trips])
        found["random"] = {"lines": [line for part in draws for line in part.result()]}
        found["autografs"] = alone.result()
    write_page(options.target, "Frameworks assembled from building units", page(found), found, made)


if __name__ == "__main__":
    main()
