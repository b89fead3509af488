"""What comes before the main stage of training: a first stage, and the start of a prior.

Both follow from seed and rows alone. A run that is interrupted before the main stage repeats them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from variolite.errors import TrainingError
from variolite.recipe import LinearBeta, PretrainingSpec, TrainingSpec
from variolite.training.device import generator
from variolite.training.loop import train
from variolite.training.optimiser import beta_at, final_beta
from variolite.training.row_batches import Masking, Member, TrainingBatches
from variolite.vae import Batch, LossTerms, TabularModule
from variolite.vae.priors import StandardNormal

START_ROWS = 10_000  # rows whose latents a mixture is started from
_OTHER_EPOCHS = 1_000_000  # added to the epoch, so that the main stage sees other shuffles
_LATER = ("mixture.", "pseudo_inputs.", "head.")  # parameters of the main stage alone


def pretrain(
    module: TabularModule,
    source: TrainingBatches,
    spec: TrainingSpec,
    pretraining: PretrainingSpec,
    learning_rate: float,
    log: Callable[[str], None],
) -> None:
    """Train for some epochs with the standard prior, all rows taking part.

    Beta rises for half of them. The weights are those with the lowest training loss.
    """
    log(f"first stage of {pretraining.epochs} epochs")
    members = source.members
    normal = StandardNormal(len(members), module.architecture.latent)
    beta = LinearBeta(
        start=beta_at(spec.beta, 0), end=final_beta(spec.beta), epochs=pretraining.epochs // 2
    )
    changes = {"beta": beta, "epochs": pretraining.epochs, "patience": None, "plateau": None}

    def loss(batch: Batch, beta: Tensor) -> LossTerms:
        return module.loss(batch, beta, prior=normal)

    later = [p for name, p in module.named_parameters() if name.startswith(_LATER)]
    for parameter in later:
        parameter.requires_grad_(False)
    train(
        module,
        loss,
        lambda epoch: source.epoch(_OTHER_EPOCHS + epoch),
        None,
        spec.model_copy(update=changes),
        learning_rate=learning_rate,
        betas=[m.beta for m in members],
        part="training.pretraining",
    )
    for parameter in later:
        parameter.requires_grad_(True)


def stage_masking(
    pretraining: PretrainingSpec,
    names: Sequence[str],
    groups: Sequence[Sequence[int]],
    device: torch.device,
) -> Masking | None:
    """Hide, from encoder and likelihood, all numeric columns ``names`` but those of the stage."""
    every = torch.zeros((1, len(names)), dtype=torch.bool)
    if pretraining.columns == "each_encoder":
        shown = every.repeat(len(groups), 1)
        for row, group in zip(shown, groups, strict=True):
            row[[column for column in group if column < len(names)]] = True
    elif pretraining.columns:
        shown = torch.tensor([[name in pretraining.columns for name in names]])
        if not shown.any():
            what = "the table has none of the columns of the first stage: "
            what += ", ".join(pretraining.columns)
            hint = "bind them with --map, or set training.pretraining=null"
            raise TrainingError(what, where="training.pretraining", hint=hint)
    else:
        return None
    one = torch.zeros(1, dtype=torch.int64, device=device)
    return Masking("sensor", 1.0, ~shown.to(device), one, scored=False)


@torch.no_grad()
def start_prior(module: TabularModule, rows: Batch, members: Sequence[Member]) -> None:
    """Start the components of every member's prior from training rows.

    A mixture from k-means on posterior means, pseudo-inputs from rows drawn at random.
    """
    a = module.architecture
    device = rows.numeric.device
    count = START_ROWS if a.prior == "mixture" else a.components
    drawn = torch.stack(
        [
            torch.randperm(len(rows), generator=generator(device, m.seed, 4), device=device)[:count]
            for m in members
        ]
    )
    sample = rows.gather(drawn, torch.empty(0))
    if a.prior == "vamp":
        module.pseudo_inputs.rows.copy_(module.encoder_input(sample))
        return
    posterior = module.infer(sample)
    means, variances = posterior.mean, posterior.clamped_log_variance.exp()
    for place, member in enumerate(members):
        _start_mixture(module, place, member.seed, means[place], variances[place])


def _start_mixture(
    module: TabularModule, place: int, seed: int, means: Tensor, variances: Tensor
) -> None:
    """Start the components of one member from posterior means and variances, (n, L) each."""
    from sklearn.cluster import KMeans

    mixture = module.mixture
    points = means.double().cpu().numpy()
    components = module.architecture.components
    found = KMeans(components, n_init=3, random_state=seed).fit(points)
    label = found.labels_
    # Of a component: that of the means around its centre, and that of the posteriors.
    spread = np.stack([points[label == k].var(axis=0) for k in range(components)])
    spread += variances.mean(dim=0).double().cpu().numpy()
    shares = np.bincount(label, minlength=components) / len(label)
    for parameter, values in (
        (mixture.mean, found.cluster_centers_),
        (mixture.log_variance, np.log(spread)),
        (mixture.logits, np.log(shares)),
    ):
        parameter[place] = torch.from_numpy(np.asarray(values, np.float32)).to(parameter.device)
