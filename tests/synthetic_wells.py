"""Wells with three rock types, and a way to hold some of them out."""

import numpy as np

from variolite.scoring import Bootstrap, ClusteringPlan, hold_out

QUICK = Bootstrap(resamples=100)
PLAN = ClusteringPlan(algorithms=("kmeans",), ks=(2, 3), rules=(), seeds=2)


def wells(n_wells=8, rows=40, seed=0, spread=5.0):
    """Features, wells and rock types, in shares that differ by well."""
    rng = np.random.default_rng(seed)
    group = np.repeat([f"well {i}" for i in range(n_wells)], rows)
    kind = np.concatenate(
        [rng.choice(3, rows, p=rng.dirichlet(np.ones(3) * 2)) for _ in range(n_wells)]
    )
    x = spread * np.eye(3)[kind] + rng.normal(size=(len(kind), 3))
    return x, group, np.array(["clay", "sand", "chalk"])[kind]


def without(names, group, labels, **options):
    """Hold some wells out: the held-out rows, and positions of training and test rows."""
    known = ~np.isin(group, names)
    train, test = np.flatnonzero(known), np.flatnonzero(~known)
    return hold_out(group, labels, train_rows=train, test_rows=test, **options), train, test
