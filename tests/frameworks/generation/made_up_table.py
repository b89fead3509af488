"""A made-up table of frameworks, of which linkers, cell and uptake depend on one hidden factor."""

from __future__ import annotations

import numpy as np
import polars as pl

from variolite.frameworks.recipe import FrameworkRecipe

LINKERS = [
    "O=C(O)c1ccc(C(=O)O)cc1",
    "O=C(O)c1cc(C(=O)O)cc(C(=O)O)c1",
    "c1c[nH]cn1",
    "c1cc(-c2ccncc2)ccn1",
    "O=CO",
    "O=C(O)C(=O)O",
]
METALS = ["Zn", "Cu", "Fe", "Al;Zn", "Zr"]
NETS = ["pcu", "dia", "sql"]

COLUMNS = {
    "name": {"role": "id", "optional": True},
    "family": {"role": "group"},
    "metals": {"kind": "set"},
    "linkers": {"kind": "set", "missing": "mask"},
    "net": {"kind": "category", "missing": "mask", "optional": True},
    **{
        f"cell_{part}": {"missing": "mask", "optional": True}
        for part in ("log_a", "log_b", "log_c", "ab", "ac", "bc")
    },
    "density": {"unit": "g/cm3", "missing": "mask"},
    # Neither of these is ever near zero, and one has a logarithm.
    "co2_uptake": {"role": "condition", "unit": "mol/kg", "transform": ["log", "standardise"]},
    "void_fraction": {"role": "condition", "clip": [0.01, 0.99]},
}


def frameworks(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    """Rows as `variolite frameworks describe` writes them, two of every family."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=rows)
    noise = rng.normal(size=(rows, 6))

    def pick(words: list[str], spread: float) -> list[str]:
        place = (factor + spread * rng.normal(size=rows)) * 1.3 + len(words) / 2
        return [words[i] for i in np.clip(place.astype(int), 0, len(words) - 1)]

    first, second = pick(LINKERS, 0.5), pick(LINKERS, 2.0)
    two = rng.random(rows) < 0.3
    pairs = zip(first, second, two, strict=True)
    linkers = [";".join(sorted({a, b} if both else {a})) for a, b, both in pairs]
    letters = list("BCDFGHKMNPRSTVWXZ")  # far apart, so that no two families look alike
    stems = ["".join(rng.choice(letters, 6)) for _ in range(rows // 2)]
    return pl.DataFrame(
        {
            "name": [f"{stems[i // 2]}{'' if i % 2 else '01'}" for i in range(rows)],
            "metals": pick(METALS, 0.4),
            "linkers": [None if rng.random() < 0.1 else text for text in linkers],
            "net": [None if rng.random() < 0.2 else text for text in pick(NETS, 0.8)],
            "a": 12.0 * np.exp(0.2 * factor + 0.05 * noise[:, 0]),
            "b": 14.0 * np.exp(0.2 * factor + 0.05 * noise[:, 1]),
            "c": 17.0 * np.exp(0.2 * factor + 0.05 * noise[:, 2]),
            "alpha": 90.0 + 4.0 * noise[:, 3],
            "beta": 92.0 + 4.0 * noise[:, 4],
            "gamma": 88.0 + 4.0 * noise[:, 5],
            "density": np.round(1.2 - 0.2 * factor + 0.05 * rng.normal(size=rows), 4),
            "co2_uptake": 4.0 * np.exp(0.2 * factor + 0.05 * rng.normal(size=rows)),
            "void_fraction": 0.6 + 0.05 * factor + 0.02 * rng.normal(size=rows),
        }
    )


def recipe(**changes) -> FrameworkRecipe:
    """A small model of the table; training in part, all else as a whole, may differ."""
    training = {"epochs": 40, "batch_size": 32, "learning_rate": 0.01}
    training["beta"] = {"kind": "linear", "epochs": 5}
    training |= changes.pop("training", {})
    settings = {"columns": COLUMNS, "split": {"test": 0.25, "validation": 0.15}}
    settings |= {"model": {"latent": 3, "encoder": [16], "decoder": [16]}, "training": training}
    return FrameworkRecipe(**{"name": "made-up", **settings, **changes})
