"""A run folder made up for the report's tests: simulated beds, a pretended model and its scores.

Rows follow a Markov chain of lithologies in each hole, with offsets between
holes, compaction with depth and gaps in the core. Nothing is trained: the
"reconstruction" is a shrunken copy of the inputs.
"""

import json
from dataclasses import dataclass

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray
from safetensors.numpy import save_file

LITHOLOGIES = (
    "nannofossil ooze",
    "clay",
    "silty clay",
    "wackestone",
    "diatom ooze",
    "sand",
    "nannofossil chalk",
    "basalt",
)
SHARES = np.array([0.26, 0.22, 0.14, 0.1, 0.1, 0.08, 0.06, 0.04])
INPUTS = {
    "bulk_density": "g/cm3",
    "magnetic_susceptibility": "instr. units",
    "natural_gamma": "cps",
    "reflectance_red": "0-255",
    "reflectance_green": "0-255",
    "reflectance_blue": "0-255",
}
# Per lithology: density, log of susceptibility, gamma, lightness.
MEANS = np.array(
    [
        [1.62, 0.8, 9, 130],
        [1.58, 3.4, 38, 55],
        [1.72, 3.9, 44, 48],
        [1.95, 0.2, 12, 105],
        [1.36, 1.4, 21, 72],
        [1.98, 4.6, 31, 50],
        [1.88, 0.4, 8, 150],
        [2.72, 6.4, 4, 28],
    ]
)
LATENT = 10
GROUPS = {
    "train": [f"U13{n}{h}" for n in range(20, 28) for h in "AB"],
    "validation": ["U1330A", "U1331A", "U1331B"],
    "test": ["U1334A", "U1335B", "U1337A", "U1338D"],
}


@dataclass(frozen=True)
class Beds:
    """Rows of one hole: depth, lithology code, cluster."""

    depth: NDArray[np.float64]
    lithology: NDArray[np.int64]


def beds(generator, rows):
    """Draw a hole: geometric bed thickness, core gaps about every 9.5 m and one long gap."""
    switch = generator.random(rows) < 0.035
    lithology = np.empty(rows, dtype=np.int64)
    lithology[0] = generator.choice(len(LITHOLOGIES), p=SHARES)
    local = SHARES * generator.gamma(0.7, size=len(SHARES))
    local /= local.sum()
    for i in range(1, rows):
        fresh = generator.choice(len(LITHOLOGIES), p=local)
        lithology[i] = fresh if switch[i] else lithology[i - 1]
    steps = np.full(rows, 0.2)
    steps[generator.random(rows) < 0.012] = 1.6
    steps[rows * 2 // 3] = 14.0
    return Beds(np.cumsum(steps).round(1), lithology)


def features(generator, hole):
    """Draw the six inputs of a hole, [rows, 6]."""
    rows = len(hole.depth)
    smooth = np.convolve(generator.normal(size=(rows + 20)), np.ones(21) / 4.6, mode="valid")
    mean = MEANS[hole.lithology]
    density = mean[:, 0] + 0.0008 * hole.depth + 0.05 * smooth + generator.normal(0, 0.05, rows)
    susceptibility = np.exp(mean[:, 1] + 0.4 * smooth + generator.normal(0, 0.5, rows)) - 3
    gamma = mean[:, 2] * np.exp(generator.normal(0, 0.15, rows)) + generator.normal(0, 1)
    light = mean[:, 3] * np.exp(0.12 * smooth + generator.normal(0, 0.1, rows))
    colours = [
        np.clip(light * factor + generator.normal(0, 2, rows), 3, 255)
        for factor in (1.05, 1.0, 0.88)
    ]
    return np.column_stack([density, susceptibility, gamma, *colours])


def held_out(generator, rows=1400):
    """Return the held-out table as ``score`` writes it."""
    frames = []
    for number, name in enumerate(GROUPS["test"]):
        hole = beds(generator, rows // (1 + number // 2))
        raw = features(generator, hole)
        scaled = (raw - raw.mean(axis=0)) / raw.std(axis=0)
        bent = raw.copy()
        bent[:, 1] = np.arcsinh(raw[:, 1] / 4)
        rebuilt = bent.mean(axis=0) + bent.std(axis=0) * (
            0.9 * (bent - bent.mean(axis=0)) / bent.std(axis=0)
            + generator.normal(0, 0.2, raw.shape)
        )
        rebuilt[:, 1] = 4 * np.sinh(rebuilt[:, 1])
        mixing = np.random.default_rng(5).normal(size=(6, 4)) * [1.0, 0.8, 0.6, 0.4]
        latent = generator.normal(0, 0.02, (len(raw), LATENT))
        warped = np.column_stack([scaled[:, 0], np.sign(scaled[:, 1]), *scaled[:, 2:].T])
        latent[:, :4] = np.tanh(warped @ mixing * 0.5) * 1.6
        latent[:, :4] += generator.normal(0, 0.12, (len(raw), 4))
        second = (raw[:, 0] > np.median(raw[:, 0])) & (hole.lithology < 4)
        cluster = np.where(second, hole.lithology + 8, hole.lithology)
        noisy = generator.random(len(raw)) < 0.18
        cluster = np.where(noisy, generator.integers(0, 12, len(raw)), cluster)
        labels = np.array(LITHOLOGIES)[hole.lithology]
        labels = np.where(generator.random(len(raw)) < 0.01, "", labels)
        frames.append(
            pl.DataFrame(
                {
                    "group": [name] * len(raw),
                    "order": hole.depth,
                    **{column: raw[:, i] for i, column in enumerate(INPUTS)},
                    **{f"recon:{column}": rebuilt[:, i] for i, column in enumerate(INPUTS)},
                    "label:lithology": labels.tolist(),
                    "label:group": np.where(
                        labels == "", "", np.where(hole.lithology == 7, "igneous", "sediment")
                    ).tolist(),
                    "cluster": cluster,
                    "cluster:1": (cluster + 1) % 12,
                    **{f"z{i}": latent[:, i] for i in range(LATENT)},
                    "log_likelihood": generator.normal(-9, 2, len(raw)),
                }
            )
        )
    return pl.concat(frames)


def history(generator, epochs=60, members=3):
    """Return ``history.jsonl``: a warm-up of ten epochs, then slow improvement and overfitting."""
    lines = []
    for epoch in range(epochs):
        beta = min(1.0, epoch / 10)
        fall = 6 * np.exp(-epoch / 4)
        kl = 3.1 + 9 * np.exp(-epoch / 3.5)
        drift = [
            fall + 4.2 + 0.05 * m + 0.0004 * max(0, epoch - 30 - 4 * m) ** 1.6
            for m in range(members)
        ]

        def noisy(values, sd=0.03):
            return [float(value + generator.normal(0, sd)) for value in values]

        reconstruction = noisy(drift)
        kls = noisy([kl] * members)
        lines.append(
            {
                "epoch": epoch,
                "beta": beta,
                "seconds": float(0.8 + generator.gamma(2, 0.05)),
                "rate": [1e-3] * members,
                "train_total": noisy([v - 0.2 + beta * kl for v in drift], 0.01),
                "train_reconstruction": noisy([v - 0.2 - 0.004 * epoch for v in drift], 0.01),
                "train_kl": noisy([kl] * members, 0.01),
                "val_monitored": [r + k for r, k in zip(reconstruction, kls, strict=True)],
                "val_reconstruction": reconstruction,
                "val_kl": kls,
                "active_units": [int(max(4, 10 - epoch // 3 + m)) for m in range(members)],
            }
        )
    return "".join(json.dumps(line) + "\n" for line in lines)


def row(task, method, metric, mean, half, **further):
    """Return one score row with every field of the format."""
    return {
        "task": task,
        "method": method,
        "algorithm": None,
        "fit": None,
        "split": "held-out groups",
        "level": None,
        "k": None,
        "rule": None,
        "metric": metric,
        "feature": None,
        "unit": None,
        "mean": mean,
        "low": mean - half,
        "high": mean + half * 1.15,
        "n_groups": len(GROUPS["test"]),
        "seeds": 3,
        **further,
    }


METRICS = {"ari": 0.21, "ami": 0.23, "v_measure": 0.24, "homogeneity": 0.27, "completeness": 0.21,
           "accuracy": 0.44, "macro_f1": 0.31}  # fmt: skip
GAIN = {"vae": 1.0, "raw": 0.7, "pca_whitened": 0.93, "autoencoder": 0.86}


def scorecard(generator):
    """Return ``scorecard.json``: four methods, two algorithms, six k, a rule, oracle and pairs."""
    rows = []
    for algorithm, factor in (("kmeans", 1.0), ("gmm", 1.05)):
        for method, gain in GAIN.items():
            for k in (4, 6, 9, 12, 15, 18):
                for metric, value in METRICS.items():
                    mean = value * gain * factor * (1.25 - 0.02 * k) + generator.normal(0, 0.006)
                    common = {"algorithm": algorithm, "fit": "inductive", "level": "lithology"}
                    half = float(generator.uniform(0.02, 0.05))
                    scored = row(
                        "clustering", method, metric, mean, half, k=k, rule="fixed", **common
                    )
                    rows.append(scored)
                    chosen = 12 if method == "vae" else 9
                    if k == chosen:
                        rows.append({**scored, "rule": "stability"})
                    if k == 4:
                        rows.append({**scored, "rule": "oracle"})
    for metric, value in METRICS.items():
        rows.append(
            row(
                "clustering",
                "supervised",
                metric,
                value * 1.9,
                0.05,
                fit="inductive",
                algorithm="gradient_boosting",
                level="lithology",
            )
        )
    for rival, difference in (("pca_whitened", 0.014), ("raw", 0.06), ("autoencoder", 0.03)):
        for metric in ("ari", "ami"):
            common = {"algorithm": "kmeans", "fit": "inductive", "level": "lithology",
                      "rule": "stability"}  # fmt: skip
            name = f"vae vs {rival}"
            rows.append(row("paired", name, metric, difference, 0.02, **common))
            nan = {"low": None, "high": None}
            rows.append(row("paired", name, f"{metric}_p", 0.2, 0, **common) | nan)
            rows.append(row("paired", name, f"{metric}_wins", 0.75, 0, **common) | nan)
    for name, (unit, r2, rmse) in zip(
        INPUTS,
        [("g/cm3", 0.81, 0.09), ("instr. units", 0.62, 88.0), ("cps", 0.74, 7.1),
         ("0-255", 0.93, 9.0), ("0-255", 0.94, 8.6), ("0-255", 0.92, 8.8)],
        strict=True,
    ):  # fmt: skip
        for method, worse in (("vae", 0.0), ("autoencoder", -0.03)):
            common = {"feature": name, "unit": unit}
            r2 += worse
            rows.append(row("reconstruction", method, "r2", r2, 0.04, **common))
            rows.append(row("reconstruction", method, "rmse", rmse, 0.1 * rmse, **common))
            rows.append(row("reconstruction", method, "mae", 0.7 * rmse, 0.05 * rmse, **common))
    rows.append(row("likelihood", "vae", "evidence_lower_bound", -9.12, 0.4, unit="nats"))
    notes = ["Labels with fewer than 100 rows were left out of macro-averaged scores."]
    return {"format": 1, "rows": rows, "notes": notes}


def health(generator):
    """Return ``health.json``: four active dimensions of ten."""
    kl = [0.004, 1.21, 0.0008, 0.86, 0.0031, 0.55, 0.0005, 0.41, 0.0072, 0.0011]
    dimensions = [
        {
            "index": i,
            "kl": value,
            "active": value > 0.01,
            "mean_sd": float(np.sqrt(1 - np.exp(-2 * value))),
            "correlation": {
                name: float(np.clip(generator.normal(0, 0.5 if value > 0.01 else 0.04), -1, 1))
                for name in INPUTS
            },
        }
        for i, value in enumerate(kl)
    ]
    return {
        "latent": LATENT,
        "active_units": 4,
        "total_kl": float(sum(kl)),
        "noise": dict(zip(INPUTS, [0.31, 0.55, 0.49, 0.24, 0.2, 0.26], strict=True)),
        "dimensions": dimensions,
        "findings": [
            {
                "level": "ok",
                "text": "4 of 10 latent dimensions are active.",
                "advice": "Fewer dimensions would do; more would stay empty.",
            },
            {
                "level": "note",
                "text": "The three colours share two dimensions: they are almost one measurement.",
                "advice": None,
            },
            {
                "level": "warning",
                "text": "Magnetic susceptibility keeps 30 % of its variance as noise.",
                "advice": "Try the Student-t likelihood for it: set columns."
                "magnetic_susceptibility.likelihood=student_t.",
            },
        ],
    }


def schema():
    """Return the schema part of ``model.json``."""
    columns = {name: {"role": "input", "unit": unit} for name, unit in INPUTS.items()}
    columns["hole"] = {"role": "group"}
    columns["depth"] = {"role": "order", "unit": "m"}
    columns["lithology"] = {"role": "label"}
    return {"format": 1, "schema": {"columns": columns}, "numeric": {}, "levels": {}}


def environment():
    """Return ``environment.json`` of a simulated run."""
    return {
        "variolite": "0.1.0",
        "python": "3.11.2",
        "torch": "2.13.0",
        "numpy": "2.2.1",
        "platform": "Linux-6.1-x86_64",
        "processors": 2,
        "device": "cpu",
        "command": "variolite fit corelogs/default --data cores.parquet --out runs/first",
        "started": "2026-03-02T09:14:31+00:00",
        "seconds": 61.4,
        "simulated": True,
        "data": {
            "name": "cores.parquet",
            "fingerprint": "9f2c41d07ab35e18",
            "rows": 24210,
            "rows_kept": 23877,
            "left_out": ["neutron_porosity"],
            "remarks": ["333 rows dropped: reflectance_red is missing"],
        },
    }


def write_synthetic_run(folder, *, seed=3, rows=1400):
    """Write a whole run folder and return it."""
    generator = np.random.default_rng(seed)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    held_out(generator, rows).write_parquet(folder / "held_out.parquet")
    recipe = {
        "name": "corelogs/default",
        "title": "Default for boreholes",
        "columns": schema()["schema"]["columns"],
        "model": {"latent": LATENT},
        "clustering": {"algorithm": "kmeans", "rule": "stability"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    model = {
        "format": 1,
        "kind": "variolite.tabular_vae",
        "members": [{"seed": i, "beta": 1.0, "latent": LATENT} for i in range(3)],
        "schema": schema(),
        "provenance": {"variolite": "0.1.0", "recipe": "corelogs/default", "simulated": True},
    }
    (folder / "model" / "model.json").write_text(json.dumps(model))
    kept = {"format": 1, "algorithm": "kmeans", "rule": "stability", "k": 12, "members": 3}
    save_file(
        {"0.centres": np.zeros((12, LATENT))},
        folder / "model" / "clusters.safetensors",
        metadata={"variolite": json.dumps(kept)},
    )
    (folder / "history.jsonl").write_text(history(generator))
    (folder / "split.json").write_text(json.dumps({**GROUPS, "seed": 7}))
    (folder / "scorecard.json").write_text(json.dumps(scorecard(generator)))
    (folder / "health.json").write_text(json.dumps(health(generator)))
    (folder / "environment.json").write_text(json.dumps(environment()))
    return folder
