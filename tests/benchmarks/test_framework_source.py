"""The published models are rebuilt as they were coded, defects included."""

import numpy as np
import polars as pl
import pytest
import torch
from benchmarks.frameworks import source

from variolite.scoring import Bootstrap


def table(seed=0):
    """The source's classes, with uptakes and features that say nothing of them."""
    rng = np.random.default_rng(seed)
    n = sum(source.COUNTS.values())
    cells = rng.uniform(8, 30, (n, 3))
    features = {name: rng.integers(3, 9, n).astype(float) for name in source.FEATURES}
    return pl.DataFrame(
        {
            "name": [f"F{i:05}" for i in range(n)],
            "family": [f"F{i:05}" for i in range(n)],
            "metals": [m for m, count in source.COUNTS.items() for _ in range(count)],
            "linkers": source.LINKERS[0],
            "a": cells[:, 0],
            "b": cells[:, 1],
            "c": cells[:, 2],
            "volume": 0.9 * cells.prod(axis=1),
            "co2_uptake": rng.gamma(2, 1.5, n),
            **features,
        }
    )


def test_shares_at_a_temperature_are_those_of_the_table():
    # Calculated before from the reported counts.
    found = [100 * source.tempered(t)[0] for t in source.TEMPERATURES]
    assert found == pytest.approx([97.3, 76.1, 57.4, 46.3, 35.1], abs=0.06)
    assert source.expected_of_50(2.0, keep_unknown=True) == pytest.approx(5.8, abs=0.05)
    assert source.expected_of_50(2.0, keep_unknown=False) == pytest.approx(4.8, abs=0.1)


def test_augmentation_scales_cells_and_makes_boxes_of_the_noisy_ones():
    rows = table()[:5]
    cells, origin = source.augmented(rows, np.random.default_rng(0))
    assert cells.shape == (80, 4)
    plain = cells[:40]
    first = rows.row(0, named=True)
    assert plain[7, :3] == pytest.approx([2 * first[k] for k in "abc"])
    assert plain[7, 3] == pytest.approx(8 * first["volume"])
    noisy = cells[40:]
    np.testing.assert_allclose(noisy[:, 3], noisy[:, :3].prod(axis=1))
    assert np.std(noisy[:, :3] / plain[:, :3]) == pytest.approx(0.02, abs=0.005)
    assert origin[:8].tolist() == [0] * 8


def test_members_compute_what_plain_networks_do():
    members = source.Members(source.HYBRID, 3, seed=1)
    assert sum(p[0].numel() for p in members.parameters()) == (
        (26 * 64 + 64)
        + (64 * 64 + 64)
        + (64 * 32 + 32)
        + (17 * 64 + 64)
        + (64 * 64 + 64)
        + (64 * 14 + 14)
    )
    x, noise = torch.randn(3, 7, 26), torch.randn(3, 7, 16)
    found, kl = members.loss(x, noise, x[..., -1:])
    for m in range(3):

        def net(layers, values, m=m):
            for i, (weight, bias) in enumerate(layers):
                values = values @ weight[m] + bias[m]
                values = values.relu() if i + 1 < len(layers) else values
            return values

        mean, log_variance = net(members.encoder, x[m]).chunk(2, -1)
        z = mean + noise[m] * (log_variance / 2).exp()
        out = net(members.decoder, torch.cat([z, x[m, :, 25:]], -1))
        target = x[m, :, :14]
        prior = torch.distributions.Normal(0.0, 1.0)
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        divergence = torch.distributions.kl_divergence(posterior, prior).sum(-1)
        torch.testing.assert_close(kl[m], divergence, rtol=1e-4, atol=1e-4)
        cross = torch.nn.functional.cross_entropy
        expected = cross(out[:, :6], target[:, :6], reduction="none")
        expected = expected + cross(out[:, 6:10], target[:, 6:10], reduction="none")
        expected = expected + 10 * ((out[:, 10:] - target[:, 10:]) ** 2).sum(-1)
        torch.testing.assert_close(found[m], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def fitted():
    torch.set_num_threads(1)
    return source.train(source.UNCONDITIONAL, table(), [1.0, 1e4], 3, 0)


def test_degenerate_data_argmax_and_collapse_are_told_apart(fitted):
    rows, quick = table(), Bootstrap(resamples=50)
    names = [
        [f.name for f in source.judged(rows, fitted, member, quick).findings] for member in (0, 1)
    ]
    assert all(some[:2] == ["degenerate_data", "decoding_artefact"] for some in names)
    assert "posterior_collapse" not in names[0]
    assert "posterior_collapse" in names[1]


def test_samples(fitted):
    rows = source.sample(fitted, 4000, 1.0, 0)[0]
    top = (rows["metals"] == "Zn").mean()
    assert top == pytest.approx(523 / 687, abs=0.06)
    assert (source.sample(fitted, 500, None, 0)[0]["metals"] == "Zn").mean() > 0.95
    again = source.sample(fitted, 4000, 1.0, 0)[0]
    assert rows.equals(again)
    assert source.pairs(rows.with_columns(linkers=pl.lit("x")))[0] == rows["metals"].n_unique()


def test_the_last_column_is_the_condition():
    rows = table()
    hybrid = source.train(source.HYBRID, rows, [1.0], 1, 0)
    diversity = rows["site_diversity"].to_numpy()
    scaled = (diversity - diversity.mean()) / diversity.std()
    assert hybrid.x[::8, -1][:687].numpy() == pytest.approx(scaled, abs=1e-5)
    with pytest.raises(AssertionError):
        hybrid.members.decode(torch.zeros(1, 2, 16))


def test_rows_as_frequent_as_in_the_source(shared_data):
    folder = shared_data / "frameworks" / "crafted"
    if not (folder / "cifs_ddec.zip").exists():
        pytest.skip("the CIFs of CRAFTED are absent from the folder of real data")
    rows = source.source_rows(folder)
    counts = dict(rows.group_by("metals").len().iter_rows())
    assert counts == source.COUNTS
    assert rows["linkers"].n_unique() == 1
    # Three features are one number.
    assert (rows["n_species"] == rows["site_diversity"]).all()
    box = (rows["a"] * rows["b"] * rows["c"] / rows["volume"]).to_numpy()
    assert (box > 1 - 1e-6).all()
    assert box.mean() == pytest.approx(1.088, abs=0.02)
