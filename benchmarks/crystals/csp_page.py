"""The page of the benchmark of crystal structure prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.crystals.reconstruction import SHOWN, formatted

COLUMNS = (
    ("cdvae_primitive", "match_rate", "match, primitive, %", 100.0, 1),
    ("cdvae_primitive", "rmse", "RMSE, primitive", 1.0, 4),
    ("cdvae_unreduced", "match_rate", "match, %", 100.0, 1),
    ("cdvae_unreduced", "rmse", "RMSE", 1.0, 4),
    ("cdvae_unreduced", "rmse_corrected", "corrected RMSE", 1.0, 4),
    ("strict_unreduced", "match_rate", "strict match, %", 100.0, 1),
)
"""Setting, figure, heading, factor, digits."""


def page_of(content: Mapping[str, Any]) -> list[str]:
    """Lines of the page."""
    spent = content["training_seconds"]
    return [
        "# Crystal structure prediction",
        "",
        f"`{content['command']}`, by `benchmarks/crystals/csp.py`.",
        "",
        f"Data: {content['title']}. Recipe `{content['recipe']}`, whose decoder is told the "
        f"elements: {content['train']:,} training crystals, {content['epochs']} epochs, "
        f"{content['parameters']:,} weights, {spent.get('network', 0.0):.0f} s of processor time; "
        f"its prior (flow) {content['prior_epochs']} epochs, {spent.get('prior', 0.0):.0f} s. One "
        "seed, one thread. Intervals (95 %) are a bootstrap over formulas.",
        "",
        f"Machine: {content['machine']}; load {content['load_before'] or 0.0:.1f} before and "
        f"{content['load_after'] or 0.0:.1f} after.",
        "",
        *_reconstruction(content["reconstruction"]),
        *_prediction(content["prediction"]),
    ]


def _reconstruction(found: Mapping[str, Any]) -> list[str]:
    heads = ["", "crystals", *(head for _, head, _, _ in SHOWN)]
    lines = [
        "## Reconstruction with the elements given",
        "",
        f"The posterior mean decoded. {found['failures']} test crystals hold an element unseen in "
        "training and count as failures. The model that decodes the elements too, and baselines, "
        "are in `crystal_reconstruction.md` with the same training and test crystals and the same "
        "metrics.",
        "",
        _row(heads),
        f"|{'---|' * len(heads)}",
    ]
    for title, scores in found["scores"].items():
        rows = scores["rows"]
        cells = [formatted(rows[metric], factor, digits) for metric, _, factor, digits in SHOWN]
        lines.append(_row([title, str(scores["crystals"]), *cells]))
    return [*lines, ""]


def _prediction(found: Mapping[str, Any]) -> list[str]:
    heads = [head for _, _, head, _, _ in COLUMNS]
    crystals = found["one"]["variolite"]["all"]["crystals"]
    missed, seconds = found["missed"], found["seconds"]
    lines = [
        "## Prediction",
        "",
        "Given are the elements of all atoms of the true cell, and so their number; neither cell "
        "nor symmetry. Default settings of `variolite generate`: a structure with atoms too close, "
        "or a volume per atom unlike that of any training crystal, is drawn again. "
        f"{missed['1']} of {crystals} compositions got no structure and count as not matched. "
        f"{1e3 * seconds['processor'] / crystals:.1f} s of processor time for 1,000 structures "
        f"({seconds['wall']:.0f} s by the clock for all).",
        "",
        "Match: `get_rms_dist` of pymatgen's StructureMatcher, stol .5, ltol .3, angle 10°, with "
        "`primitive_cell=True`, as the papers on structure prediction use it, and False; strict "
        "is stol .1, ltol .05, angle 3°, not scaled, `primitive_cell=False`. RMSE is in units of "
        "(V/n)^(1/3) over matched crystals; corrected counts failures at stol. Nothing is filtered "
        "by validity. Random coordinates are told the true cell, which the others are not. The "
        "template is the training crystal with the same numbers of atoms per element whose "
        "elements are nearest in electronegativity, redressed, in its own cell; the following ones "
        "are the next nearest. Published match rates are to be read against these two, and come "
        "from models trained on the whole of MP-20 and tested on its own test part, other crystals "
        "than these.",
        "",
        "### One structure for each composition",
        "",
        _row(["", "crystals", *heads]),
        f"|{'---|' * (2 + len(heads))}",
    ]
    for method, parts in found["one"].items():
        for title, figures in parts.items():
            label = method if title == "all" else f"{method}, {title}"
            lines.append(_row([label, str(figures["crystals"]), *_cells(figures)]))
    lines += [
        "",
        "### Best of several structures",
        "",
        f"{found['subset']} test crystals, evenly spread; the structure with the least "
        "displacement counts, which asks for the truth to choose it.",
        "",
        _row(["", "structures", *heads]),
        f"|{'---|' * (2 + len(heads))}",
    ]
    for method, by_number in found["best"].items():
        lines += [_row([method, number, *_cells(f)]) for number, f in by_number.items()]
    return [*lines, ""]


def _cells(figures: Mapping[str, Any]) -> list[str]:
    return [
        formatted(figures[setting][name], factor, digits)
        for setting, name, _, factor, digits in COLUMNS
    ]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
