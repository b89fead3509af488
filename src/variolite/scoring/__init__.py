"""Honest scores: test groups, several seeds, intervals, and baselines beside every number."""

from variolite.scoring.baselines import (
    SupervisedPlan,
    evaluate_supervised,
    pca_whitened,
    raw,
)
from variolite.scoring.clustering import ClusteringPlan, Representation, evaluate_clustering
from variolite.scoring.evaluation import (
    Entry,
    Evaluation,
    HeldOut,
    compare,
    hold_out,
)
from variolite.scoring.gmm import GaussianMixture, fit_gaussian_mixture
from variolite.scoring.health import ACTIVE_NATS, Health, evaluate_health, kl_from_standard_normal
from variolite.scoring.intervals import (
    Bootstrap,
    GroupSums,
    Interval,
    PairedDifference,
    ScoredGroups,
    bootstrap_interval,
    group_means,
    intervals_of,
    paired_difference,
)
from variolite.scoring.reconstruction import evaluate_likelihood, evaluate_reconstruction
from variolite.scoring.scorecard import (
    Scorecard,
    ScoreKey,
    ScoreRow,
    format_scorecard,
    format_value,
)

__all__ = [
    "ACTIVE_NATS",
    "Bootstrap",
    "ClusteringPlan",
    "Entry",
    "Evaluation",
    "GaussianMixture",
    "GroupSums",
    "Health",
    "HeldOut",
    "Interval",
    "PairedDifference",
    "Representation",
    "ScoreKey",
    "ScoreRow",
    "Scorecard",
    "ScoredGroups",
    "SupervisedPlan",
    "bootstrap_interval",
    "compare",
    "evaluate_clustering",
    "evaluate_health",
    "evaluate_likelihood",
    "evaluate_reconstruction",
    "evaluate_supervised",
    "fit_gaussian_mixture",
    "format_scorecard",
    "format_value",
    "group_means",
    "hold_out",
    "intervals_of",
    "kl_from_standard_normal",
    "paired_difference",
    "pca_whitened",
    "raw",
]
