from dataclasses import replace

import numpy as np
import pytest
from crystal_sets import NAMES, TEXTBOOK, cubic, rewritten, shaken

from variolite.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation import Matcher, find_novelty, novelty
from variolite.crystals.evaluation.novelty import CANDIDATES, nearest_known
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.matching.pairs import ReducedCrystals


def named(*names):
    return TEXTBOOK.take(np.array([NAMES.index(name) for name in names]))


def compared(first, second):
    matcher = Matcher()
    return matcher.compare(matcher.prepare(first), matcher.prepare(second)).tolist()


def test_results_are_those_of_pymatgen():
    from pymatgen.analysis.structure_matcher import StructureMatcher

    some, sizes = list(TEXTBOOK.take(slice(12, 60))), [0.1, 0.6, 1.2]
    chosen = np.random.default_rng(0).choice(sizes, len(some))
    first = [rewritten(crystal, i, cells=1 + i % 2) for i, crystal in enumerate(some)]
    second = [shaken(crystal, i, chosen[i]) for i, crystal in enumerate(some)]
    matcher = StructureMatcher()
    pairs = zip(first, second, strict=True)
    expected = [int(matcher.fit(to_pymatgen(one), to_pymatgen(other))) for one, other in pairs]
    assert compared(Crystals.of(first), Crystals.of(second)) == expected
    assert 0 < sum(expected) < len(expected)


def test_the_same_crystal_is_known_however_it_is_written():
    samples = (rewritten(crystal, i, cells=1 + i % 2) for i, crystal in enumerate(TEXTBOOK))
    found = find_novelty(Crystals.of(samples), TEXTBOOK, Matcher())
    assert not found.novel.any()
    assert found.unique.all()
    # Each finds itself or a crystal of the same formula that the matcher takes for it.
    formulas = reduced_formulas(TEXTBOOK)
    assert (formulas[found.known.of] == formulas).all()
    assert found.earlier.undecided.sum() == found.known.undecided.sum() == 0


def test_only_the_first_of_equal_samples_is_unique_and_polymorphs_are_new():
    anatase, rutile = named("TiO2 (anatase)", "TiO2 (rutile)")
    samples = Crystals.of(
        [rutile, shaken(rutile, 1, 0.02), anatase, rewritten(rutile, 2), rewritten(anatase, 3)]
    )
    found = find_novelty(samples, named("NaCl (rock salt)"), Matcher())
    assert found.unique.tolist() == [True, False, True, False, False]
    assert found.earlier.of[[0, 2, 4]].tolist() == [-1, -1, 2]
    assert set(found.earlier.of[[1, 3]]) <= {0, 1}
    assert found.novel.all()
    samples = named("TiO2 (anatase)", "C (diamond)", "KCl (rock salt)")
    known = named("TiO2 (rutile)", "C (graphite)", "NaCl (rock salt)")
    found = find_novelty(samples, known, Matcher())
    assert found.novel.all()
    assert found.unique.all()
    assert found.earlier.compared == 0


class Scripted:
    """A matcher with known answers about crystals of :func:`stretched`."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def prepare(self, crystals):
        return ReducedCrystals(crystals, np.ones(len(crystals), dtype=bool))

    def compare(self, *sides):
        which = [np.rint(side.crystals.lattices[:, 2, 2] * 1000 - 3000) for side in sides]
        pairs = [(int(one), int(other)) for one, other in zip(*which, strict=True)]
        self.asked += pairs
        return np.array([self.answers.get(pair, 0) for pair in pairs], dtype=np.int8)


def stretched(steps):
    """Helium on a lattice that is longer along z by some thousandths of an Angstrom."""
    atom = cubic(3.0, [2], [[0, 0, 0]])
    cells = [np.diag([3.0, 3.0, 3.0 + step / 1000]) for step in steps]
    return Crystals.of([replace(atom, lattice=cell) for cell in cells])


def test_undecided_pairs_count_as_neither_new_nor_known():
    script = Scripted({(2, 5): -1, (2, 6): 0, (3, 5): -1, (3, 6): 1})
    found = find_novelty(stretched([2, 3, 4]), stretched([5, 6]), script)
    assert found.known.undecided.tolist() == [True, False, False]
    assert found.novel.tolist() == [False, False, True]
    assert found.known.of.tolist() == [-1, 1, -1]


def test_the_nearest_are_asked_first_and_no_more_than_needed():
    known = stretched(list(range(300)))
    script = Scripted({(30, 30): 1, (30, 31): 1, (40, 70): 1})
    found = find_novelty(stretched([30, 40]), known, script)
    assert found.known.of.tolist() == [30, 70]
    # The first is answered by its nearest; the second asks in rounds of 1, 15 and 240.
    assert script.asked[0] == (40, 30)  # Samples among themselves.
    assert [pair for pair in script.asked[1:] if pair[0] == 30] == [(30, 30)]
    asked = [other for sample, other in script.asked[1:] if sample == 40]
    assert asked[0] == 40
    assert max(abs(other - 40) for other in asked[:16]) <= 9
    assert found.known.compared == len(script.asked) - 1 == 1 + CANDIDATES
    nothing = find_novelty(stretched([30]), known, Scripted({}))
    assert nothing.known.unsearched.tolist() == [True]
    assert "1 samples without a match have more than 256 candidates" in nothing.notes()[1]
    assert nothing.novel.tolist() == [True]


def test_neither_far_candidates_nor_later_samples_are_asked_about():
    formulas, distances = np.array(["He"] * 3), np.array([[0.2], [0.49], [0.51]])
    _, others, left_out = nearest_known(formulas[:1], np.zeros((1, 1)), formulas, distances)
    assert others.tolist() == [0, 1]
    assert left_out.tolist() == [False]
    formulas, distances = np.array(["A", "B", "A", "A"]), np.zeros((4, 3))
    samples, others, _ = nearest_known(formulas, distances, formulas, distances, earlier=True)
    assert list(zip(samples.tolist(), others.tolist(), strict=True)) == [(2, 0), (3, 0), (3, 2)]
    # Distances in free lengths do not see the scale.
    both = Crystals.of([cubic(a, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]) for a in (3.0, 5.0)])
    first, second = novelty.in_free_lengths(both)
    assert first == pytest.approx(second)


def test_worker_processes_agree_and_give_up_in_time(monkeypatch):
    monkeypatch.setattr(novelty, "SMALL", 0)
    some = TEXTBOOK.take(slice(16, 22))
    other = Crystals.of([rewritten(crystal, 1) for crystal in some])
    lines: list[str] = []
    pool = Matcher(1, lines.append)
    first, second = pool.prepare(some), pool.prepare(other)
    assert pool.compare(first, second).tolist() == compared(some, other) == [1] * 6
    assert any("comparing structures" in line for line in lines)
    # An answer that is there when it is asked for counts, however late: these take a while.
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) / 3
    noise = np.random.default_rng(0).uniform(-0.02, 0.02, (2, *grid.shape))
    large = [cubic(20.0, [11] * len(grid), grid + moved) for moved in noise]
    first, second = (Matcher().prepare(Crystals.of([one] * 2)) for one in large)
    assert compared(*(Crystals.of([one]) for one in large)) == [1]
    monkeypatch.setattr(novelty, "LIMIT", 1e-6)
    results = pool.compare(first, second)
    assert set(results.tolist()) <= {-1, 1}
    assert (results == -1).any()
    # What cannot be reduced is undecided.
    sheet = Crystals.of([replace(cubic(4.0, [11], [[0, 0, 0]]), lattice=np.zeros((3, 3)))])
    assert compared(sheet, sheet) == [-1]
    assert compared(*[sheet.take(slice(0, 0))] * 2) == []
