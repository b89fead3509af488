"""A run folder made up for the report's tests: simulated beds, a pretended model and its scores.

Rows follow a Markov chain of lithologies in each hole, with offsets between
holes, compaction with depth and gaps in the core. Nothing is trained: the
"reconstruction" is a shrunken copy of the inputs.
"""

import json

import numpy as np
import polars as pl
import yaml
from safetensors.numpy import save_file

# Share, density, log of susceptibility, gamma and lightness of every lithology.
LITHOLOGIES = {
    "nannofossil ooze": (0.26, 1.62, 0.8, 9, 130),
    "clay": (0.22, 1.58, 3.4, 38, 55),
    "silty clay": (0.14, 1.72, 3.9, 44, 48),
    "wackestone": (0.1, 1.95, 0.2, 12, 105),
    "diatom ooze": (0.1, 1.36, 1.4, 21, 72),
    "sand": (0.08, 1.98, 4.6, 31, 50),
    "nannofossil chalk": (0.06, 1.88, 0.4, 8, 150),
    "basalt": (0.04, 2.72, 6.4, 4, 28),
}
SHARES, *MEANS = np.array(list(LITHOLOGIES.values())).T
INPUTS = {
    "bulk_density": "g/cm3",
    "magnetic_susceptibility": "instr. units",
    "natural_gamma": "cps",
}
INPUTS |= {f"reflectance_{colour}": "0-255" for colour in ("red", "green", "blue")}
LATENT = 10
GROUPS = {
    "train": [f"U13{n}{h}" for n in range(20, 28) for h in "AB"],
    "validation": ["U1330A", "U1331A", "U1331B"],
    "test": ["U1334A", "U1335B", "U1337A", "U1338D"],
}


def beds(generator, rows):
    """Draw depths and lithologies: geometric beds, core gaps about every 9.5 m, a long gap."""
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
    return np.cumsum(steps).round(1), lithology


def features(generator, depth, lithology):
    """Draw the six inputs of a hole, [rows, 6]."""
    rows = len(depth)
    smooth = np.convolve(generator.normal(size=(rows + 20)), np.ones(21) / 4.6, mode="valid")
    density, log_susceptibility, gamma, light = (mean[lithology] for mean in MEANS)
    density = density + 0.0008 * depth + 0.05 * smooth + generator.normal(0, 0.05, rows)
    susceptibility = np.exp(log_susceptibility + 0.4 * smooth + generator.normal(0, 0.5, rows)) - 3
    gamma = gamma * np.exp(generator.normal(0, 0.15, rows)) + generator.normal(0, 1)
    light = light * np.exp(0.12 * smooth + generator.normal(0, 0.1, rows))
    lights = (light * factor + generator.normal(0, 2, rows) for factor in (1.05, 1.0, 0.88))
    colours = [np.clip(each, 3, 255) for each in lights]
    return np.column_stack([density, susceptibility, gamma, *colours])


def held_out(generator, rows=600):
    """Return the held-out table as ``score`` writes it."""
    frames = []
    for number, name in enumerate(GROUPS["test"]):
        depth, lithology = beds(generator, rows // (1 + number // 2))
        raw = features(generator, depth, lithology)
        scaled = (raw - raw.mean(axis=0)) / raw.std(axis=0)
        bent = raw.copy()
        bent[:, 1] = np.arcsinh(raw[:, 1] / 4)
        noise = bent.std(axis=0) * generator.normal(0, 0.2, raw.shape)
        rebuilt = bent.mean(axis=0) + 0.9 * (bent - bent.mean(axis=0)) + noise
        rebuilt[:, 1] = 4 * np.sinh(rebuilt[:, 1])
        mixing = np.random.default_rng(5).normal(size=(6, 4)) * [1.0, 0.8, 0.6, 0.4]
        latent = generator.normal(0, 0.02, (len(raw), LATENT))
        warped = np.column_stack([scaled[:, 0], np.sign(scaled[:, 1]), *scaled[:, 2:].T])
        latent[:, :4] = np.tanh(warped @ mixing * 0.5) * 1.6
        latent[:, :4] += generator.normal(0, 0.12, (len(raw), 4))
        second = (raw[:, 0] > np.median(raw[:, 0])) & (lithology < 4)
        cluster = np.where(second, lithology + 8, lithology)
        noisy = generator.random(len(raw)) < 0.18
        cluster = np.where(noisy, generator.integers(0, 12, len(raw)), cluster)
        labels = np.array(list(LITHOLOGIES))[lithology]
        labels = np.where(generator.random(len(raw)) < 0.01, "", labels)
        groups = np.where(lithology == 7, "igneous", "sediment")
        columns = {
            "group": [name] * len(raw),
            "order": depth,
            **dict(zip(INPUTS, raw.T, strict=True)),
            **dict(zip((f"recon:{column}" for column in INPUTS), rebuilt.T, strict=True)),
            "label:lithology": labels.tolist(),
            "label:group": np.where(labels == "", "", groups).tolist(),
            "cluster": cluster,
            "cluster:1": (cluster + 1) % 12,
            **{f"z{i}": latent[:, i] for i in range(LATENT)},
            "log_likelihood": generator.normal(-9, 2, len(raw)),
        }
        frames.append(pl.DataFrame(columns))
    return pl.concat(frames)


def history(generator, epochs=60, members=3):
    """Return ``history.jsonl``: a warm-up of ten epochs, then slow improvement and overfitting."""
    lines = []
    for epoch in range(epochs):
        beta = min(1.0, epoch / 10)
        fall = 6 * np.exp(-epoch / 4)
        kl = 3.1 + 9 * np.exp(-epoch / 3.5)
        late = [max(0, epoch - 30 - 4 * m) for m in range(members)]
        drift = [fall + 4.2 + 0.05 * m + 0.0004 * late[m] ** 1.6 for m in range(members)]

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
    absent = dict.fromkeys(("algorithm", "fit", "level", "k", "rule", "feature", "unit"))
    scored = {"task": task, "method": method, "metric": metric, "mean": mean, "low": mean - half}
    scored |= {"high": mean + half * 1.15, "n_groups": len(GROUPS["test"]), "seeds": 3}
    return absent | scored | {"split": "held-out groups"} | further


METRICS = {"ari": 0.21, "ami": 0.23, "v_measure": 0.24, "homogeneity": 0.27}
METRICS |= {"completeness": 0.21, "accuracy": 0.44, "macro_f1": 0.31}
GAIN = {"vae": 1.0, "raw": 0.7, "pca_whitened": 0.93, "autoencoder": 0.86}


def scorecard(generator):
    """Return ``scorecard.json``: four methods, two algorithms, six k, a rule, oracle and pairs."""
    rows, common = [], {"fit": "inductive", "level": "lithology"}
    for algorithm, factor in (("kmeans", 1.0), ("gmm", 1.05)):
        for method, gain in GAIN.items():
            for k in (4, 6, 9, 12, 15, 18):
                for metric, value in METRICS.items():
                    mean = value * gain * factor * (1.25 - 0.02 * k) + generator.normal(0, 0.006)
                    half = float(generator.uniform(0.02, 0.05))
                    further = {"algorithm": algorithm, "k": k, "rule": "fixed"} | common
                    scored = row("clustering", method, metric, mean, half, **further)
                    chosen = 12 if method == "vae" else 9
                    rules = {"fixed": True, "stability": k == chosen, "oracle": k == 4}
                    rows += [scored | {"rule": rule} for rule, used in rules.items() if used]
    common["algorithm"] = "gradient_boosting"
    for metric, value in METRICS.items():
        rows.append(row("clustering", "supervised", metric, value * 1.9, 0.05, **common))
    common |= {"algorithm": "kmeans", "rule": "stability"}
    for rival, difference in (("pca_whitened", 0.014), ("raw", 0.06), ("autoencoder", 0.03)):
        for metric in ("ari", "ami"):
            name = f"vae vs {rival}"
            rows.append(row("paired", name, metric, difference, 0.02, **common))
            nan = {"low": None, "high": None}
            rows.append(row("paired", name, f"{metric}_p", 0.2, 0, **common) | nan)
            rows.append(row("paired", name, f"{metric}_wins", 0.75, 0, **common) | nan)
    errors = zip((0.81, 0.62, 0.74, 0.93, 0.94, 0.92), (0.09, 88, 7.1, 9, 8.6, 8.8), strict=True)
    for (name, unit), (r2, rmse) in zip(INPUTS.items(), errors, strict=True):
        for method, worse in (("vae", 0.0), ("autoencoder", -0.03)):
            common = {"feature": name, "unit": unit}
            rows.append(row("reconstruction", method, "r2", r2 + worse, 0.04, **common))
            rows.append(row("reconstruction", method, "rmse", rmse, 0.1 * rmse, **common))
            rows.append(row("reconstruction", method, "mae", 0.7 * rmse, 0.05 * rmse, **common))
    rows.append(row("likelihood", "vae", "evidence_lower_bound", -9.12, 0.4, unit="nats"))
    notes = ["Labels with fewer than 100 rows were left out of macro-averaged scores."]
    return {"format": 1, "rows": rows, "notes": notes}


def health(generator):
    """Return ``health.json``: four active dimensions of ten."""
    kl = [0.004, 1.21, 0.0008, 0.86, 0.0031, 0.55, 0.0005, 0.41, 0.0072, 0.0011]
    dimensions = []
    for i, value in enumerate(kl):
        found = generator.normal(0, 0.5 if value > 0.01 else 0.04, len(INPUTS)).clip(-1, 1)
        spread = float(np.sqrt(1 - np.exp(-2 * value)))
        dimension = {"index": i, "kl": value, "active": value > 0.01, "mean_sd": spread}
        dimension["correlation"] = dict(zip(INPUTS, found.tolist(), strict=True))
        dimensions.append(dimension)
    findings = [
        ("ok", "4 of 10 latent dimensions are active.", "Fewer would do; more would stay empty."),
        ("note", "The three colours share two dimensions: they are almost one measurement.", None),
        ("warning", "Susceptibility keeps 30 % of its variance as noise.", "Try Student-t."),
    ]
    keys = ("level", "text", "advice")
    return {
        "latent": LATENT,
        "active_units": 4,
        "total_kl": float(sum(kl)),
        "noise": dict(zip(INPUTS, [0.31, 0.55, 0.49, 0.24, 0.2, 0.26], strict=True)),
        "dimensions": dimensions,
        "findings": [dict(zip(keys, finding, strict=True)) for finding in findings],
    }


def schema():
    """Return the schema part of ``model.json``."""
    columns = {name: {"role": "input", "unit": unit} for name, unit in INPUTS.items()}
    columns |= {"hole": {"role": "group"}, "depth": {"role": "order", "unit": "m"}}
    columns["lithology"] = {"role": "label"}
    return {"format": 1, "schema": {"columns": columns}, "numeric": {}, "levels": {}}


def environment():
    """Return ``environment.json`` of a simulated run."""
    data = {"name": "cores.parquet", "fingerprint": "9f2c41d07ab35e18", "rows": 24210}
    data |= {"rows_kept": 23877, "left_out": ["neutron_porosity"]}
    data["remarks"] = ["333 rows dropped: reflectance_red is missing"]
    facts = {"variolite": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "numpy": "2.2.1"}
    facts |= {"platform": "Linux-6.1-x86_64", "processors": 2, "device": "cpu"}
    facts["command"] = "variolite fit corelogs/default --data cores.parquet --out runs/first"
    facts |= {"started": "2026-03-02T09:14:31+00:00", "seconds": 61.4}
    return facts | {"simulated": True, "data": data}


def write_synthetic_run(folder, *, seed=3, rows=1400):
    """Write a whole run folder and return it."""
    generator = np.random.default_rng(seed)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    held_out(generator, rows).write_parquet(folder / "held_out.parquet")
    recipe = {"name": "corelogs/default", "title": "Default for boreholes"}
    recipe |= {"columns": schema()["schema"]["columns"], "model": {"latent": LATENT}}
    recipe["clustering"] = {"algorithm": "kmeans", "rule": "stability"}
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
    centres, file = {"0.centres": np.zeros((12, LATENT))}, folder / "model/clusters.safetensors"
    save_file(centres, file, metadata={"variolite": json.dumps(kept)})
    (folder / "history.jsonl").write_text(history(generator))
    parts = {"split": GROUPS | {"seed": 7}, "scorecard": scorecard(generator)}
    parts |= {"health": health(generator), "environment": environment()}
    for name, part in parts.items():
        (folder / f"{name}.json").write_text(json.dumps(part))
    return folder
