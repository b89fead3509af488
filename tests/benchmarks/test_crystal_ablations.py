"""Every ablation changes what it says and nothing else; the page says what the files say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.crystals import ablations
from benchmarks.crystals.ablations_entries import ABLATIONS, FULL, PADDED, ablated
from benchmarks.crystals.ablations_page import SPEED, write_ablations
from benchmarks.crystals.one_run import Run
from benchmarks.crystals.opponents import OPPONENTS, SIZES, contestant

from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.matching import periodic_errors

RUN = Run("mp_20", FULL, "0.86M", 3, 0.05, ablations.TRIAL)


def _entry(name):
    return ablated(ABLATIONS.get(name, PADDED), RUN, textbook_crystals(), 16)


@torch.no_grad()
def _start(entry):
    batch = next(entry.batches.epoch(0))
    return float(entry.module.eval().loss(batch, torch.ones(1)).total)


def test_the_full_model_is_the_one_of_the_contest():
    crystals = textbook_crystals()
    ours = contestant("mp_20", OPPONENTS["ours"], SIZES["0.86M"], crystals, 3, 16)
    entry = _entry(FULL)
    assert entry.parameters == ours.parameters
    for name, value in ours.module.state_dict().items():
        assert torch.equal(entry.module.state_dict()[name], value), name
    expected, found = ours.reconstruct(crystals), entry.reconstruct(crystals)
    np.testing.assert_array_equal(found.species, expected.species)
    np.testing.assert_allclose(found.lattices, expected.lattices, atol=1e-6)
    np.testing.assert_allclose(found.coordinates, expected.coordinates, atol=1e-6)
    np.testing.assert_array_equal(entry.encode(crystals).mean, ours.encode(crystals).mean)


def test_all_variants_start_from_the_same_weights_and_batches():
    full = _entry(FULL)
    weights = full.module.state_dict()
    for name in ABLATIONS:
        entry = _entry(name)
        assert abs(entry.parameters / full.parameters - 1.0) < 0.03, name
        for key, value in entry.module.state_dict().items():
            if key in weights and not key.startswith("log_metric_"):
                assert torch.equal(value, weights[key]), (name, key)
        ours, theirs = (next(e.batches.epoch(1)) for e in (full, entry))
        assert torch.equal(ours.noise, theirs.noise)
        assert torch.equal(ours.species, theirs.species)


def test_padding_and_straight_rounding_change_no_result_at_rest_and_padding_no_gradient():
    full = _start(_entry(FULL))
    assert _start(_entry("padded")) == pytest.approx(full, rel=1e-5)
    assert _start(_entry("float32")) == full
    for name in ("plain_coordinates", "bare_cells", "index", "as_given", "no_straight_ways"):
        assert abs(_start(_entry(name)) - full) > 1e-3, name
    # Padding gives the gradients of the full model.
    gradients = []
    for name in (FULL, "padded"):
        entry = _entry(name)
        entry.module.use_bf16(False)
        entry.module.loss(next(entry.batches.epoch(0)), torch.ones(1)).total.sum().backward()
        gradients.append(entry.module.decoder.layers[1].joint.weight.grad)
    assert gradients[0].norm() > 0.0
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()


def test_only_the_index_and_the_frame_of_the_file_depend_on_how_a_crystal_is_given():
    crystals = textbook_crystals()
    shift = np.random.default_rng(0).random((len(crystals), 3))[crystals.owner]
    moved = replace(crystals, coordinates=(crystals.coordinates + shift) % 1.0)
    starts, ends = crystals.offsets[:-1], crystals.offsets[1:]
    order = np.concatenate([np.arange(a, b)[::-1] for a, b in zip(starts, ends, strict=True)])
    turned = {name: getattr(crystals, name)[order] for name in ("coordinates", "species")}
    turned = replace(crystals, **turned)
    for name in ABLATIONS:
        entry = _entry(name)
        at, after = entry.encode(crystals).mean, entry.encode(moved).mean
        assert (np.abs(at - after).max() < 1e-3) == (name != "as_given"), name
        # Sums over the atoms of every crystal, which no order changes.
        change = at.astype(float) - entry.encode(turned).mean.astype(float)
        same = np.abs(np.add.reduceat(change, starts)).max() < 1e-3
        assert same == (name != "index"), name


@torch.no_grad()
def test_bare_outputs_that_are_right_give_the_crystal_back():
    """Coordinates and cells are read the way the loss compares them."""
    entry = _entry("plain_coordinates")
    module = entry.module
    batch = next(entry.batches.epoch(0))
    decoded = module.generate(batch.noise, batch.layout)
    right = torch.cat([batch.coordinates + 3.0, decoded.pairs[:, 3:]], dim=1)
    found = module.coordinates(replace(decoded, pairs=right))
    assert (found - batch.coordinates).abs().max() < 1e-5
    assert module.terms(batch, replace(decoded, pairs=right)).coordinates == pytest.approx(9.0)

    module = _entry("bare_cells").module
    lengths = batch.lattice.norm(dim=2)
    unit = batch.lattice / lengths[..., None]
    cosines = torch.stack([(unit[:, i] * unit[:, j]).sum(1) for i, j in ((1, 2), (0, 2), (0, 1))])
    scaled = lengths / batch.layout.counts[:, None] ** (1 / 3)
    right = torch.cat([scaled, cosines.T.arccos()], dim=1)
    metric = right * module.log_metric_scale + module.log_metric_mean
    decoded = replace(decoded, log_metric=metric)
    assert module.terms(batch, decoded).lattice < 1e-8
    cells, possible = module.cells(decoded, batch.layout)
    assert possible.all()
    wanted = batch.lattice.double() @ batch.lattice.double().transpose(1, 2)
    np.testing.assert_allclose(cells @ cells.transpose(0, 2, 1), wanted, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_an_impossible_cell_is_counted_and_leaves_nothing():
    crystals = textbook_crystals()
    entry = _entry("bare_cells")
    entry.module.to_log_metric.weight.zero_()
    entry.module.decoder_skip.weight[6:].zero_()

    def possible(*bare):
        entry.module.to_log_metric.bias.copy_(torch.tensor(bare))
        return entry.decoded(crystals)[1]

    assert possible(3.0, 3.0, 3.0, 1.5, 1.5, 1.5).all()
    for bare in ((-1.0, 3.0, 3.0, 1.5, 1.5, 1.5), (3.0, 3.0, 3.0, 3.1, 1.5, 1.5)):
        assert not possible(*bare).any()
        assert np.isnan(periodic_errors(crystals, entry.reconstruct(crystals)).distances).all()


@pytest.mark.usefixtures("textbook")
def test_from_runs_to_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "STEPS", 2)
    runs = tmp_path / "runs"
    with pytest.raises(SystemExit, match="no run of the full model"):
        write_ablations(runs, tmp_path)
    names = (FULL, "bare_cells", "plain_coordinates")
    every = [replace(RUN, opponent=name, seed=seed) for seed in (0, 1) for name in names]
    for run in (*every, Run("mp_20", SPEED, "0.86M", 0, 0.0)):
        ablations.carry_out(run, runs, tmp_path, lambda _: None)
    write_ablations(runs, tmp_path)
    page = (tmp_path / "crystal_ablations.md").read_text()
    for words in (
        *("`ablations --budget 0.05 --seeds 2 --sets mp_20`", "There are 2 seeds"),
        "minus bucketing by size",
    ):
        assert words in page
    figures = json.loads((tmp_path / "crystal_ablations.json").read_text())["figures"]
    verdicts = [f["verdict"] for f in figures if f.get("minus") == FULL]
    assert len(verdicts) == 2 * 3
    assert set(verdicts) <= {"better", "worse", "no clear difference"}
    timed = {f["variant"] for f in figures if f["score"] == "steps_per_cpu_second"}
    assert timed == {FULL, "padded", "float32"}
