"""What can be had without a model."""

import numpy as np
import pytest
from matching_sets import some_rows, textbook

from variolite.crystals.matching import (
    CDVAE,
    DEFAULT,
    STRICT,
    fixed_template,
    match_pairs,
    nearest_template,
    random_coordinates,
)
from variolite.errors import DataError

TRUE = textbook(8)


def test_baselines_have_the_right_types_in_the_right_order():
    found, again, other = (random_coordinates(TRUE, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(found.species, TRUE.species)
    np.testing.assert_array_equal(found.lattices, TRUE.lattices)
    np.testing.assert_array_equal(found.coordinates, again.coordinates)
    assert (found.coordinates != other.coordinates).all()
    for template in (fixed_template, nearest_template):
        found = template(TRUE, TRUE.take(slice(10, None)), seed=1)
        np.testing.assert_array_equal(found.species, TRUE.species)
        np.testing.assert_array_equal(found.names, TRUE.names)
        assert np.isfinite(found.coordinates).all()
        with pytest.raises(DataError, match="no training crystal"):
            template(TRUE, TRUE.take(slice(0, 0)))
    # A fixed template is one cell for all crystals of its size.
    found = fixed_template(TRUE, TRUE, seed=5)
    common = np.bincount(TRUE.counts).argmax()
    assert np.ptp(found.lattices[found.counts == common], axis=0).max() == 0
    per_atom = found.volumes / found.counts
    np.testing.assert_allclose(per_atom, per_atom[0])


def test_templates_of_higher_rank_are_those_left_when_nearer_ones_are_gone():
    # The nearest template of a known crystal is itself, or one of its elements.
    assert match_pairs(nearest_template(TRUE, TRUE), TRUE, STRICT).fits.mean() > 0.9
    one = TRUE.take(slice(0, 1))
    found = [nearest_template(one, TRUE, rank=rank).volumes[0] for rank in range(len(TRUE))]
    assert found[0] == pytest.approx(nearest_template(one, TRUE).volumes[0])
    candidates = TRUE.counts == one.counts[0]
    assert set(np.round(found, 6)) <= set(np.round(TRUE.volumes[candidates], 6))
    assert len(set(np.round(found, 6))) > 1
    assert found[-1] == found[-2]
    with pytest.raises(DataError, match="rank -1"):
        nearest_template(one, TRUE, rank=-1)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    # Shares measured with pymatgen on 60 to 200 crystals: 0.195-0.230, 0.390, 0.547, 0.033.
    [("mp_20", 0.1, 0.3), ("perov_5", 0.27, 0.5), ("carbon_24", 0.45, 0.75), ("mpts_52", 0, 0.1)],
)
def test_random_coordinates_match_at_the_cdvae_tolerance(shared_data, name, least, most):
    true = some_rows(shared_data, name, 60 if name == "mpts_52" else 150, seed=7)
    found = random_coordinates(true, seed=7)
    match, default, strict = (match_pairs(found, true, t) for t in (CDVAE, DEFAULT, STRICT))
    assert least <= match.matched.mean() <= most
    assert match.fits.mean() < match.matched.mean() or not match.matched.any()
    assert default.matched.mean() < 0.06
    assert strict.matched.mean() < 0.02
