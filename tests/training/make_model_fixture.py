"""Write the model file that tests keep readable: run once for every new format number.

    python tests/training/make_model_fixture.py tests/training/fixtures/model_format_1

The folder then holds a model that uses every part of the format, a table, and what the
model made of the table when it was saved.
"""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
from toy_tables import fit, fitted, small

from variolite.training import Member, save_model

COLUMNS = {
    "density": {"unit": "g/cm3", "clip": [0.01, 0.99], "missing": "mask"},
    "susceptibility": {"transform": ["signed_log", "standardise"], "likelihood": "student_t"},
    "porosity": {"transform": [{"logit": {"lower": 0, "upper": 1}}], "learn_bounds": True},
    "resistivity": {"transform": ["log10", {"quantile": {"knots": 6}}], "learn_rounding": True},
    "rock": {"kind": "category", "missing": "mask"},
    "depth": {"role": "condition"},
    "ship": {"role": "condition", "kind": "category"},
    "hole": {"role": "group"},
}


def made_up_table(rows, seed):
    """Rows with one hidden factor."""
    source = np.random.default_rng(seed)
    hidden = source.normal(size=rows)
    noise = source.normal(size=(rows, 4))
    density = 2.0 + 0.2 * hidden + 0.05 * noise[:, 0]
    density[source.random(rows) < 0.2] = np.nan
    columns = {
        "density": density,
        "susceptibility": 50.0 * hidden + 20.0 * noise[:, 1],
        "porosity": 1.0 / (1.0 + np.exp(hidden + 0.3 * noise[:, 2])),
        "resistivity": np.round(10.0 ** (0.5 * hidden + 0.3 * noise[:, 3]) + 0.01, 2),
        "rock": np.where(hidden > 0.5, "basalt", np.where(hidden > -0.5, "clay", "ooze")),
        "depth": source.uniform(0.0, 300.0, rows),
        "ship": np.where(source.random(rows) < 0.5, "A", "B"),
        "hole": np.array(["H1", "H2", "H3"])[source.integers(0, 3, rows)],
    }
    return pl.DataFrame(columns)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shown = made_up_table(6, 1)
    schema, rows = fitted(made_up_table(200, 0), COLUMNS)
    parts = {"members": (Member(0, 1.0, 3), Member(1, 0.5, 2)), "beta": {"kind": "constant"}}
    parts["model"] = small(
        latent=3, encoder=(4,), decoder=(4,), norm="layer", shift="group", drift=9.0
    )
    model = fit(schema, rows, **parts, epochs=10, learning_rate=0.02).model
    save_model(folder, model)
    records = schema.apply(shown)
    said = {name: getattr(model, name)(records).tolist() for name in ("encode", "reconstruct")}
    said["evidence"] = model.evidence(records, samples=3).tolist()
    shown.write_csv(folder / "table.csv")
    (folder / "said.json").write_text(json.dumps(said), encoding="utf-8")
