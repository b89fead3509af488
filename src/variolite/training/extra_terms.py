"""Terms that some recipes add to the objective: a contrastive one, and guidance by labels.

Both are means per row in nats, as the other terms are, so that a weight means the same whatever the
batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.errors import TrainingError, counted
from variolite.recipe import ContrastiveSpec, GuidanceSpec
from variolite.records import Records
from variolite.training.row_batches import TrainingBatches
from variolite.vae import Batch, LossTerms, Posterior, TabularModule

_CENTRE_ROWS = 5_000  # rows that the centres of pseudo-labels are found from

Term = Callable[[Posterior, Batch], Tensor]
"""A term of the loss, (M,), weighted."""


def with_terms(module: TabularModule, terms: list[Term]) -> Callable[[Batch, Tensor], LossTerms]:
    """Add terms to the total of a module's objective."""

    def loss(batch: Batch, beta: Tensor) -> LossTerms:
        posterior = module.infer(batch)
        found = module.loss(batch, beta, posterior)
        more = torch.stack([term(posterior, batch) for term in terms]).sum(0)
        return replace(found, total=found.total + more)

    return loss


def info_nce(codes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss of codes (M, B, L) with labels (M, B), nats per row, (M,).

    Rows of one label attract, all others repel (P. Khosla et al., NeurIPS 2020). Rows without a
    partner do not count.
    """
    unit = torch.nn.functional.normalize(codes, dim=-1)
    itself = torch.eye(codes.shape[1], dtype=torch.bool, device=codes.device)
    similarity = (unit @ unit.transpose(1, 2) / temperature).masked_fill(itself, -torch.inf)
    log_p = similarity - torch.logsumexp(similarity, dim=-1, keepdim=True)
    partner = (labels.unsqueeze(1) == labels.unsqueeze(2)) & ~itself
    partners = partner.sum(-1)
    row = -log_p.masked_fill(~partner, 0.0).sum(-1) / partners.clamp(min=1)
    return row.sum(1) / (partners > 0).sum(1).clamp(min=1)


class Contrast:
    """The contrastive term; pseudo-labels are the nearest of k-means centres of the latents.

    Centres are found again at the start of every epoch, from the weights of that moment.
    """

    def __init__(self, module: TabularModule, rows: Batch, spec: ContrastiveSpec) -> None:
        self.module = module
        self.spec = spec
        every = max(1, len(rows) // _CENTRE_ROWS)
        members = next(module.parameters()).shape[0]
        index = torch.arange(0, len(rows), every, device=rows.numeric.device)
        self.sample = rows.gather(index.expand(members, -1), torch.empty(0))
        self.centres = torch.empty(0)

    def epochs(self, source: TrainingBatches) -> Callable[[int], Iterator[Batch]]:
        """Return the batches of an epoch, with new centres."""

        def epoch(number: int) -> Iterator[Batch]:
            self.find_centres()
            yield from source.epoch(number)

        return epoch

    @torch.no_grad()
    def find_centres(self) -> None:
        """Cluster the latents of a sample of rows, (M, k, L)."""
        from sklearn.cluster import KMeans

        means = self.module.infer(self.sample).mean
        found = [
            KMeans(self.spec.clusters, n_init=1, random_state=0).fit(own).cluster_centers_
            for own in means.cpu().numpy()
        ]
        self.centres = torch.from_numpy(np.stack(found)).to(means)

    def __call__(self, posterior: Posterior, _: Batch) -> Tensor:
        labels = torch.cdist(posterior.mean.detach(), self.centres).argmin(-1)
        return self.spec.weight * info_nce(posterior.mean, labels, self.spec.temperature)


@dataclass(frozen=True)
class Guide:
    """Classes of the training rows whose labels are used: ``codes`` (n,), -1 for all others."""

    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    weight: float
    note: str

    @classmethod
    def of(cls, records: Records, spec: GuidanceSpec, seed: int) -> Guide:
        """Draw the groups whose labels are used; TrainingError where there are no labels."""
        where, hint = "training.guidance", "bind the labels with --map, or set it to null"
        if not records.labels or records.group is None:
            raise TrainingError("the table has no labels to guide by", where=where, hint=hint)
        label, names = next(iter(records.labels.items()))
        has_label = names != ""
        groups = np.unique(records.group[has_label])
        if not len(groups):
            raise TrainingError(f"{label} is empty in all training rows", where=where, hint=hint)
        count = max(1, round(spec.share * len(groups)))
        chosen = np.random.default_rng(seed).permutation(groups)[:count]
        used = has_label & np.isin(records.group, chosen)
        classes, found = np.unique(names[used], return_inverse=True)
        codes = np.full(len(records), -1)
        codes[used] = found.reshape(-1)
        kind = "semi-supervised" if used.sum() < has_label.sum() else "supervised"
        note = (
            f"{kind}: {label} of {count} of {counted(len(groups), 'labelled training group')}, "
            f"{used.mean():.0%} of the rows, {counted(len(classes), 'class', 'classes')}"
        )
        return cls(codes, tuple(classes.tolist()), spec.weight, note)

    def term(self, module: TabularModule) -> Term:
        """Cross entropy of the label head, over the rows of a batch whose labels are used."""
        device = next(module.parameters()).device
        known = torch.from_numpy(self.codes).to(device)

        def cross_entropy(posterior: Posterior, batch: Batch) -> Tensor:
            assert batch.row is not None
            codes = known[batch.row]
            log_p = torch.log_softmax(module.head(posterior.mean), dim=-1)
            chosen = log_p.gather(-1, codes.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            used = codes >= 0
            total = -chosen.masked_fill(~used, 0.0).sum(1) / used.sum(1).clamp(min=1)
            return self.weight * total

        return cross_entropy
