"""The model: posterior, prior, likelihoods, networks and the objective."""

from variolite.vae.analytic import AnalyticStep, supports
from variolite.vae.batch import Batch
from variolite.vae.likelihoods import Categorical, Gaussian, Joint, Mixed, StudentT
from variolite.vae.members import member, stack
from variolite.vae.objective import Parts
from variolite.vae.posterior import Posterior
from variolite.vae.priors import Prior, StandardNormal
from variolite.vae.tabular import Architecture, Likelihood, TabularModule

__all__ = [
    "AnalyticStep",
    "Architecture",
    "Batch",
    "Categorical",
    "Gaussian",
    "Joint",
    "Likelihood",
    "Mixed",
    "Parts",
    "Posterior",
    "Prior",
    "StandardNormal",
    "StudentT",
    "TabularModule",
    "member",
    "stack",
    "supports",
]
