import numpy as np
import pytest

from variolite.frameworks.assembly.nets import interpenetration

X, Y, Z = np.eye(3, dtype=int)


@pytest.mark.parametrize(
    ("edges", "nets"),
    [
        ([(0, 0, X), (0, 0, Y), (0, 0, Z)], 1),
        ([(0, 0, 2 * X), (0, 0, Y), (0, 0, Z)], 2),
        ([(0, 0, X + Y), (0, 0, Y + Z), (0, 0, X + Z)], 2),  # pcu through the corners of a cube
        ([(0, 0, 2 * X), (0, 0, 2 * Y), (0, 0, 3 * Z)], 12),
        ([(0, 1, 0 * X), (0, 1, -X), (0, 1, -Y), (0, 1, -Z)], 1),  # dia
        ([(v, v, way) for v in (0, 1) for way in (X, Y, Z)], 2),
        ([(0, 0, X), (0, 0, Y)], 0),  # a layer
        ([(0, 0, X), (0, 0, Y), (0, 0, X), (0, 0, Y)], 0),
        ([(0, 0, X), (0, 0, Y), (0, 0, X + Y)], 0),
        ([(0, 1, X), (1, 2, Y)], 0),  # a molecule
        ([], 0),
    ],
)
def test_nets_are_counted_even_where_a_translation_relates_them(edges, nets):
    assert interpenetration(edges) == nets


@pytest.mark.parametrize("seed", range(5))
def test_the_count_does_not_depend_on_the_choice_of_lattice(seed):
    rng = np.random.default_rng(seed)
    loops = [rng.integers(-3, 4, 3) for _ in range(3)]
    index = round(abs(np.linalg.det(loops)))
    shear = np.array([[1, rng.integers(-3, 4), 0], [0, 1, rng.integers(-3, 4)], [0, 0, 1]])
    assert interpenetration((0, 0, loop) for loop in loops) == index
    assert interpenetration((0, 0, loop @ shear) for loop in loops) == index
