"""Descriptions of frameworks beside published values: pores, readers of building units, time.

    python -m benchmarks.frameworks.describe                      about 30 minutes of one core
    python -m benchmarks.frameworks.describe --every 40 --readers 40 --zeo 60    a trial
    python -m benchmarks.frameworks.describe --keep --described TABLE --core TABLE    seconds

CRAFTED's table of pores was made by Zeo++ with its accurate network and a probe of 1.655 Angstrom;
that of CoRE MOF 2019, which the four anchors are of, likewise. Time is that of the processor. What
is counted in tables that `variolite frameworks describe` wrote can be brought up to date alone.
"""

from __future__ import annotations

import argparse
import json
import re
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.frameworks.crafted import CORE, DATA
from benchmarks.pages import RESULTS, command, origin, provenance, table, write_page

from variolite.crystals.crystals import Crystal, cell_parameters
from variolite.crystals.elements import SYMBOLS
from variolite.frameworks.columns import PROBE
from variolite.frameworks.description.building_units import silence
from variolite.frameworks.description.describe import describe_task, read_frameworks_in
from variolite.frameworks.description.pores import measure_pores
from variolite.training.workers import outcomes

QUANTITIES = {
    "largest_cavity_diameter": "LCD",
    "pore_limiting_diameter": "PLD",
    "largest_free_path": "LFPD",
    "density": "density_g_cm3",
    "surface_area_mass": "ASA_m2_g",
    "surface_area_volume": "ASA_m2_cm3",
    "accessible_void_fraction": "AV_VF",
    "pore_volume": "AV_cm3_g",
}
"""Columns of described tables and of CRAFTED's."""
ANCHORS = {
    "FIQCEN_clean": "HKUST-1",
    "RUBTAK01_SL": "UiO-66",
    "VELVOY_clean": "ZIF-8",
    "EDUSIF_clean": "MOF-5",
}
ANCHORED = {
    "largest_cavity_diameter": "LCD",
    "pore_limiting_diameter": "PLD",
    "surface_area_mass": "ASA_m2_g",
    "void_fraction": "AV_VF",
}


def timed(task: tuple[str, Crystal]) -> tuple[dict[str, Any], float]:
    """Carry out a task of describe, or ``zeo`` or ``zeo accurate``; return it and its seconds."""
    what, crystal = task
    silence()
    measure_pores(Crystal(crystal.species[:1], crystal.coordinates[:1], 9 * np.eye(3)))
    began = time.process_time()
    try:
        if what.startswith("zeo"):
            found = by_zeo(crystal, accurate=what.endswith("accurate"))
        else:
            found = describe_task(what, crystal)
    except Exception as error:
        found = {"failed": str(error)}
    return found, time.process_time() - began


def by_zeo(crystal: Crystal, *, accurate: bool) -> dict[str, float]:
    """Measure pores with Zeo++: 500 points on every atom, 1,000 in the cell for each."""
    from pyzeo.extension import AtomNetwork, high_accuracy_atomnet, surface_area, volume

    moved = crystal.coordinates @ crystal.lattice
    moved = moved + np.random.default_rng(0).normal(0, 1e-3, moved.shape)
    places = moved @ np.linalg.inv(crystal.lattice)
    cell = cell_parameters(crystal.lattice[None])[0]
    lines = [
        " " * 38 + "".join(f"{length:8.4f}" for length in cell[:3]),
        " " * 21 + "".join(f"{angle:8.3f}" for angle in cell[3:]) + "    SPGR =  1 P 1   OPT = 1",
        f"{len(crystal):4d}   0",
        "0 MOF : MOF",
    ]
    bonds = "  0" * 7
    for number, (z, (x, y, w)) in enumerate(zip(crystal.species, places, strict=True), 1):
        at = f"{x:10.6f}  {y:10.6f}  {w:10.6f}"
        lines.append(f" {number:3d} {SYMBOLS[z]:>4s}  {at}    0{bonds}   0.0000")
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder, "x.cssr"), Path(folder, "x.res")
        path.write_text("\n".join(lines) + "\n")
        network = AtomNetwork.read_from_CSSR(str(path), rad_flag=True)
        fine = AtomNetwork.read_from_CSSR(str(path), rad_flag=True)
        if accurate:
            high_accuracy_atomnet(fine, "DEF")
        fine.calculate_free_sphere_parameters(str(result))
        lcd, pld, lfpd = map(float, result.read_text().split()[1:4])
    area = _numbers(surface_area(network, PROBE, PROBE, 500, False))
    space = _numbers(volume(network, PROBE, PROBE, 1000, False))
    return {
        "largest_cavity_diameter": lcd,
        "pore_limiting_diameter": pld,
        "largest_free_path": lfpd,
        "density": area["Density"],
        "surface_area_mass": area["ASA_m^2/g"],
        "surface_area_volume": area["ASA_m^2/cm^3"],
        "accessible_void_fraction": space["AV_Volume_fraction"],
        "pore_volume": space["AV_cm^3/g"],
    }


def _numbers(blob: bytes) -> dict[str, float]:
    found = re.findall(r"([A-Za-z_/^0-9]+):\s+([-+.\deE]+)", blob.decode())
    return {name: float(value) for name, value in found}


def carried_out(
    what: str, crystals: Mapping[str, Crystal], workers: int, limit: float = 120.0
) -> dict[str, tuple[dict[str, Any], float] | None]:
    """What a task found by name, with its seconds; None where it died or took too long."""
    began = time.monotonic()
    tasks = [(what, crystal) for crystal in crystals.values()]
    found = outcomes(timed, tasks, workers=workers, limit=limit)
    print(f"{what}: {len(tasks)} structures, {time.monotonic() - began:.0f} s", flush=True)
    return {n: o.value for n, o in zip(crystals, found, strict=True)}


def errors(
    found: Mapping[str, tuple[dict[str, Any], float] | None],
    published: Mapping[str, Any],
    quantities: Mapping[str, str] = QUANTITIES,
) -> dict[str, dict[str, float]]:
    """Median and 90th percentile of relative errors where the published value is above 0."""
    rows = {}
    for name, theirs in quantities.items():
        pairs = [
            (done[0][name], float(published[structure][theirs]))
            for structure, done in found.items()
            if done is not None and name in done[0]
        ]
        off = np.array([ours / value - 1 for ours, value in pairs if value > 0])
        if len(off):
            size = np.abs(off)
            rows[name] = {
                "n": len(off),
                "median": float(np.median(size)),
                "p90": float(np.quantile(size, 0.9)),
                "bias": float(np.median(off)),
                "zero_only_published": sum(v == 0 < ours for ours, v in pairs),
                "zero_only_here": sum(ours == 0 < v for ours, v in pairs),
            }
    return rows


def crafted(every: int) -> tuple[dict[str, Crystal], dict[str, Any]]:
    """Every nth structure of CRAFTED as it is described, and its table by name."""
    published = {row["Name"]: row for row in pl.read_csv(DATA / "crafted_table.csv").to_dicts()}
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(DATA / "cifs_ddec.zip") as archive:
            for member in archive.infolist():
                if member.filename.endswith(".cif"):
                    Path(folder, Path(member.filename).name).write_bytes(archive.read(member))
        found = {f.name: f.crystal for f in read_frameworks_in([Path(folder)])}
    chosen = sorted(name for name in found if name in published)[::every]
    return {name: found[name] for name in chosen if found[name] is not None}, published  # type: ignore[misc]


def anchors() -> dict[str, Any]:
    """Pores of four known frameworks, and those of the CoRE MOF 2019 table."""
    if find_spec("CoRE_MOF") is None:
        return {}
    from CoRE_MOF import data

    home = Path(next(iter(data.__path__)))
    rows = pl.read_csv(home / "2019-ASR.csv", infer_schema_length=None).to_dicts()
    published = {row["filename"]: row for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(home / "2019-ASR.tar.xz") as archive:
            for member in archive:
                stem = Path(member.name).stem
                if stem in ANCHORS and (file := archive.extractfile(member)) is not None:
                    Path(folder, f"{stem}.cif").write_bytes(file.read())
        found = [f for f in read_frameworks_in([Path(folder)]) if f.crystal is not None]
    results = {}
    for framework in found:
        assert framework.crystal is not None
        ours, theirs = measure_pores(framework.crystal), published[framework.name]
        results[framework.name] = {
            name: [ours[name], float(theirs[column])] for name, column in ANCHORED.items()
        }
    return results


def readers(crystals: Mapping[str, Crystal], workers: int) -> dict[str, Any]:
    """What both readers make of structures, and how long that takes."""
    done = {task: carried_out(task, crystals, workers) for task in ("linkers", "units")}
    died = {"failed": "time limit or process ended"}, np.nan
    seconds = {
        task: float(np.nanmean([(one or died)[1] for one in found.values()]))
        for task, found in done.items()
    }
    return {"n": len(crystals), "seconds": seconds}


CORE_TABLE = DATA.parent / "core2019" / "core2019_table.csv.gz"
CORE_PORES = {*ANCHORED, "density", "surface_area_volume"}


def described(path: Path) -> dict[str, Any]:
    """Count in a described table who read what."""
    frame = pl.read_parquet(path)
    readings = frame["linkers_by"].fill_null("nobody").value_counts(sort=True).rows()
    reasons = Counter(
        reason for cell in frame["problem"].drop_nulls() for reason in cell.split("; ")
    )
    return {
        "rows": len(frame),
        "pores": int(frame["density"].is_not_null().sum()),
        "linkers_by": dict(readings),
        "molecules": frame["linkers"].str.split(";").explode().drop_nulls().n_unique(),
        "units": int(frame["units"].is_not_null().sum()),
        "net": int(frame["net"].is_not_null().sum()),
        "exact": int((frame["net_tier"] == "exact").sum()),
        "interwoven": int((frame["catenation"] > 1).sum()),
        "rods": int((frame["rods"] > 0).sum()),
        "assembled": int((frame["net"].is_not_null() & frame["assembly_problem"].is_null()).sum()),
        "problems": dict(reasons.most_common(8)),
    }


def core(path: Path) -> dict[str, Any]:
    """What was described of CoRE MOF 2019, and its pores beside the published ones."""
    table = CORE_TABLE.read_bytes()
    published = {
        row["MOFname"]: row for row in pl.read_csv(table, infer_schema_length=None).to_dicts()
    }
    rows = {row["name"]: (row, np.nan) for row in pl.read_parquet(path).to_dicts()}
    rows = {name: row for name, row in rows.items() if name in published}
    quantities = {ours: theirs for theirs, ours in CORE.items() if ours in CORE_PORES}
    return {"errors": errors(rows, published, quantities), **described(path)}


def _page(content: Mapping[str, Any]) -> list[str]:
    def row(name: str, one: Mapping[str, float]) -> list[str]:
        parts = [f"{100 * one[key]:.2f}" for key in ("median", "p90", "bias")]
        lost = [str(int(one[key])) for key in ("zero_only_here", "zero_only_published")]
        return [name.replace("_", " "), str(int(one["n"])), *parts, *lost]

    head = ["relative error in %", "n", "median", "90th percentile", "bias", "0 here", "0 there"]
    pores, zeo = content["pores"], content["zeo"]
    lines = [
        "## Pores against the table of CRAFTED",
        "",
        f"Ours: {1 / pores['seconds']:.1f} structures per second and core. '0 here' counts what "
        "is closed to the probe only by our numbers, '0 there' only by the table's: channels as "
        "wide as the probe.",
        "",
        *table(head, [row(name, one) for name, one in pores["errors"].items()]),
        "",
        f"Zeo++ through pyzeo without its accurate network, {zeo['n']} of these structures: "
        f"{1 / zeo['seconds']:.1f} per second and core, {zeo['died']} ended their process.",
        "",
        *table(head, [row(name, one) for name, one in zeo["errors"].items()]),
        "",
        content["accurate"],
        "",
        "## Known frameworks",
        "",
        "Here, and in the table of CoRE MOF 2019 (in brackets); void fractions are of a point.",
        "",
    ]
    shown = ("LCD, Angstrom", "PLD, Angstrom", "surface, m2/g", "void fraction")
    known = [
        [f"{ANCHORS[name]} ({name})"]
        + [f"{ours:.4g} ({theirs:.4g})" for ours, theirs in values.values()]
        for name, values in content["anchors"].items()
    ]
    lines += table(["", *shown], known)
    timing = content["readers"]
    linkers, units = timing["seconds"]["linkers"], timing["seconds"]["units"]
    every = 1 / (linkers + units + pores["seconds"])
    lines += [
        "",
        "## Linkers, units and nets",
        "",
        f"On {timing['n']} structures mofstructure takes {linkers:.2f} s each, AuToGraFS with the "
        f"net {units:.2f} s, pores {pores['seconds']:.2f} s: {every:.2f} structures per second and "
        "core for everything.",
    ]
    if content["described"]:
        lines += ["", *_counted("CRAFTED", content["described"])]
    if found := content.get("core"):
        lines += [
            "",
            "## CoRE MOF 2019",
            "",
            "Structures drawn at random among those of the table that have CIFs; void fractions "
            "are of a point.",
            "",
            *table(head, [row(name, one) for name, one in found["errors"].items()]),
            "",
            *_counted("CoRE MOF 2019", found),
        ]
    return lines


def _counted(of: str, found: Mapping[str, Any]) -> list[str]:
    by = ", ".join(f"{reader} {count}" for reader, count in found["linkers_by"].items())
    return [
        f"Of {found['rows']} rows of `variolite frameworks describe` of {of} {found['pores']} have "
        f"pores; linkers by {by}; {found['molecules']} different molecules. Building units in "
        f"{found['units']}, a net in {found['net']} ({found['exact']} by the exact signature), "
        f"rods in {found['rods']}, interwoven {found['interwoven']}; net and units of "
        f"{found['assembled']} go together for the assembler. What is missing most:",
        "",
        *(f"- {count} x {reason}" for reason, count in found["problems"].items()),
    ]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="every nth structure")
    parser.add_argument("--readers", type=int, default=6, help="every nth of them to read")
    parser.add_argument("--zeo", type=int, default=6, help="every nth of them by Zeo++")
    parser.add_argument("--accurate", type=int, default=4, help="number by its accurate network")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--described", type=Path, help="CRAFTED as described, .parquet")
    parser.add_argument("--core", type=Path, help="CoRE MOF 2019 as described, .parquet")
    parser.add_argument("--keep", action="store_true", help="count in these tables only")
    parser.add_argument("--out", type=Path, default=RESULTS / "frameworks_describe")
    options = parser.parse_args()
    made = provenance(
        command("benchmarks.frameworks.describe", options),
        ("AuToGraFS", "mofstructure", "pyzeo", "rdkit", "scipy"),
    )
    counted = {
        "described": described(options.described) if options.described else None,
        "core": core(options.core) if options.core else None,
    }
    if options.keep:
        content = json.loads(options.out.with_suffix(".json").read_text()) | counted
        content["counted"] = made
        lines = [origin(content), "", f"What is counted in tables: {origin(made)}", ""]
        write_page(options.out, "Frameworks: descriptions", [*lines, *_page(content)], content)
        return
    crystals, published = crafted(options.every)
    names = [*crystals]

    def some(step: int) -> dict[str, Crystal]:
        return {name: crystals[name] for name in names[::step]}

    found = carried_out("pores", crystals, options.workers)
    zeo = carried_out("zeo", some(options.zeo), options.workers)
    few = dict(sorted(crystals.items(), key=lambda one: len(one[1]))[:: max(1, len(names) // 8)])
    few = dict(list(few.items())[1 : 1 + options.accurate])
    slow = carried_out("zeo accurate", few, options.workers, limit=90.0)
    content = {
        "pores": {"errors": errors(found, published), "seconds": _mean(found)},
        "zeo": {
            "n": len(zeo),
            "errors": errors(zeo, published),
            "seconds": _mean(zeo),
            "died": sum(one is None for one in zeo.values()),
        },
        "accurate": _accurate(few, slow),
        "anchors": anchors(),
        "readers": readers(some(options.readers), options.workers),
        **counted,
    }
    write_page(options.out, "Frameworks: descriptions", _page(content), content, made)


def _mean(found: Mapping[str, tuple[dict[str, Any], float] | None]) -> float:
    return float(np.mean([one[1] for one in found.values() if one is not None]))


def _accurate(
    few: Mapping[str, Crystal], slow: Mapping[str, tuple[dict[str, Any], float] | None]
) -> str:
    parts = [
        f"{name} ({len(few[name])} atoms) " + (f"{one[1]:.1f} s" if one else "more than 90 s")
        for name, one in slow.items()
    ]
    return f"With its accurate network (DEF) Zeo++ takes: {', '.join(parts)}."


if __name__ == "__main__":
    main()
