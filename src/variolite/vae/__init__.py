"""The model: posterior, prior, likelihoods, networks and the objective."""

from variolite.vae.analytic import AnalyticStep, supports
from variolite.vae.likelihoods import Categorical, Gaussian, Joint, Mixed, StudentT
from variolite.vae.posterior import Posterior, Prior, StandardNormal
from variolite.vae.tabular import (
    Architecture,
    Batch,
    Likelihood,
    LossTerms,
    TabularModule,
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
    "Prior",
    "StandardNormal",
    "StudentT",
    "TabularModule",
    "member",
    "stack",
    "supports",
]
