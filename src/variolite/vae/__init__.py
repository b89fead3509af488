"""The model: posterior, prior, likelihoods, networks and the objective."""

from variolite.vae.analytic import AnalyticStep, supports
from variolite.vae.likelihoods import Categorical, Gaussian, Joint, Mixed, StudentT
from variolite.vae.posterior import Posterior, StandardNormal
from variolite.vae.tabular import (
    Architecture,
    Batch,
    Likelihood,
    LossTerms,
    TabularModule,
    blank,
    member,
    stack,
)

__all__ = [
    "AnalyticStep",
    "Architecture",
    "Batch",
    "Categorical",
    "Gaussian",
    "Joint",
    "Likelihood",
    "LossTerms",
    "Mixed",
    "Posterior",
    "StandardNormal",
    "StudentT",
    "TabularModule",
    "blank",
    "member",
    "stack",
    "supports",
]
