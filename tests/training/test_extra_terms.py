"""The contrastive term and guidance by labels: right by hand, and felt by the latents."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_tables import fit, small, table_of

from variolite.errors import TrainingError
from variolite.recipe import GuidanceSpec
from variolite.training.extra_terms import Guide, info_nce

SHORT = {"epochs": 15, "beta": {"kind": "constant"}, "batch_size": 64, "learning_rate": 0.01}


def _rocks(rows=400):
    """Two rocks that differ a little in one of four logs, in ten holes."""
    source = np.random.default_rng(0)
    rock = source.integers(0, 2, rows)
    values = source.normal(size=(rows, 4)) + np.outer(rock, [1.5, 0.0, 0.0, 0.0])
    schema, records = table_of(values)
    group = np.array([f"h{i % 10}" for i in range(rows)])
    return schema, replace(records, group=group, labels={"rock": np.array(["clay", "sand"])[rock]})


def _separation(latents, classes):
    """Share of the variance that lies between the classes, of the best direction."""
    centres = np.stack([latents[classes == c].mean(0) for c in np.unique(classes)])
    within = sum(np.cov(latents[classes == c].T) for c in np.unique(classes))
    offset = centres[0] - centres[1]
    return float(offset @ np.linalg.solve(within, offset))


def test_info_nce_equals_the_sum_over_pairs():
    source = torch.Generator().manual_seed(0)
    codes = torch.randn(2, 9, 3, generator=source)
    labels = torch.tensor([[0, 0, 1, 1, 1, 2, 3, 3, 0], [0] * 9])
    found = info_nce(codes, labels, 0.4)
    for member in range(2):
        rows = []
        unit = codes[member] / codes[member].norm(dim=1, keepdim=True)
        for i in range(9):
            others = [j for j in range(9) if j != i]
            alike = [j for j in others if labels[member, j] == labels[member, i]]
            total = sum(np.exp(float(unit[i] @ unit[j]) / 0.4) for j in others)
            terms = [np.log(total) - float(unit[i] @ unit[j]) / 0.4 for j in alike]
            rows += [np.mean(terms)] if alike else []
        assert float(found[member]) == pytest.approx(np.mean(rows), rel=1e-5)


def test_the_contrastive_gradient_does_not_shrink_with_the_batch():
    source = torch.Generator().manual_seed(0)
    sizes = []
    for rows in (64, 1024):
        codes = torch.randn(1, rows, 4, generator=source, requires_grad=True)
        weight = torch.ones(4, requires_grad=True)
        labels = (codes[..., 0] > 0).long()
        (gradient,) = torch.autograd.grad(info_nce(codes * weight, labels, 0.5).sum(), weight)
        sizes.append(float(gradient.norm()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.5)


def test_the_contrastive_term_draws_latents_into_clusters():
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    schema, records = _rocks()
    found = []
    for contrastive in (None, {"weight": 2.0, "clusters": 3}):
        model = fit(schema, records, None, small(), contrastive=contrastive, **SHORT).model
        latent = model.encode(records)[0]
        latent /= np.linalg.norm(latent, axis=1, keepdims=True)
        label = KMeans(3, n_init=3, random_state=0).fit_predict(latent)
        found.append(silhouette_score(latent, label))
    assert found[1] > found[0] + 0.05, found


def test_labels_guide_the_latents_and_those_of_other_groups_are_not_used():
    schema, records = _rocks()
    settings = {"guidance": {"weight": 3.0, "share": 0.3}} | SHORT
    plain = fit(schema, records, None, small(), **SHORT).model.encode(records)[0]
    model = fit(schema, records, None, small(), **settings).model
    rocks = records.labels["rock"]
    assert _separation(model.encode(records)[0], rocks) > 1.5 * _separation(plain, rocks)
    guide = Guide.of(records, GuidanceSpec(share=0.3), 0)
    used = guide.codes >= 0
    assert len(np.unique(records.group[used])) == 3
    assert guide.note.startswith("semi-supervised: rock of 3 of 10 labelled training groups, 30%")
    wrong = np.where(used, rocks, rocks[::-1])  # of groups whose labels are not used
    again = fit(schema, replace(records, labels={"rock": wrong}), None, small(), **settings).model
    np.testing.assert_array_equal(again.encode(records), model.encode(records))


def test_with_all_labels_it_is_called_supervised_and_without_any_it_is_refused():
    _, records = _rocks()
    assert Guide.of(records, GuidanceSpec(share=1.0), 0).note.startswith("supervised: ")
    empty = np.full(len(records), "")
    for labels, message in (({}, "no labels"), ({"rock": empty}, "rock is empty")):
        with pytest.raises(TrainingError, match=message):
            Guide.of(replace(records, labels=labels), GuidanceSpec(), 0)
