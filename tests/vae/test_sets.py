"""Sets as one likelihood: against the sum over all of them, and against their own draws."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from variolite.vae.sets import SIZE, SetColumn, SetShape


def column(levels: int = 5, most: int = 3, features: int = 0, seed: int = 0) -> SetColumn:
    random = torch.Generator().manual_seed(seed)
    made = SetColumn(SetShape(levels, most, features), random)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.7, generator=random)
        if features:
            made.features.normal_(generator=random)
    return made


def every_set(levels: int, most: int) -> torch.Tensor:
    sets = [c for k in range(1, most + 1) for c in combinations(range(levels), k)]
    return torch.tensor([[*c, *[-1] * (most - len(c))] for c in sets])


@pytest.mark.parametrize(("levels", "most", "features"), [(5, 3, 0), (4, 4, 3), (2, 1, 0)])
def test_probabilities_of_all_sets_add_up_to_one(levels: int, most: int, features: int) -> None:
    made, sets = column(levels, most, features), every_set(levels, most)
    query = torch.randn((1, 1, SIZE), generator=torch.Generator().manual_seed(1))
    found = made.decode(query.expand(1, len(sets), -1)).log_prob(sets.unsqueeze(0))
    assert found.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_sets_are_drawn_as_often_as_they_are_likely() -> None:
    made, sets = column(), every_set(5, 3)
    query = torch.randn((1, 1, SIZE), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        chance = made.decode(query.expand(1, len(sets), -1)).log_prob(sets.unsqueeze(0))[0].exp()
        many = made.decode(query.expand(1, 40_000, -1))
        drawn = many.sample(torch.Generator().manual_seed(2))[0]
    share = torch.stack([(drawn == s).all(1).double().mean() for s in sets])
    assert share.sum().item() == pytest.approx(1.0)
    assert (share - chance).abs().max().item() < 0.012


def test_a_missing_set_counts_nothing_and_has_no_gradient() -> None:
    made = column()
    query = torch.zeros((1, 2, SIZE), requires_grad=True)
    codes = torch.tensor([[[-1, -1], [1, 3]]])
    found = made.decode(query).log_prob(codes)
    assert found[0, 0].item() == 0.0
    assert found[0, 1].item() < 0.0
    found.sum().backward()
    assert query.grad is not None
    assert torch.equal(query.grad[0, 0], torch.zeros(SIZE))
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in made.parameters())
    assert torch.equal(made.encode(codes)[0, 0], torch.zeros(SIZE))


def test_alike_features_give_alike_vectors() -> None:
    made = SetColumn(SetShape(3, 2, 4), torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.features.copy_(torch.tensor([[[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 5.0]]]))
    seen = made.vectors()[0][0]
    assert (seen[0] - seen[1]).norm() < (seen[0] - seen[2]).norm()
