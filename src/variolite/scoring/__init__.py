"""Honest scores: test groups, several seeds, intervals, and baselines beside every number."""

from variolite.scoring.baselines import pca_whitened, raw
from variolite.scoring.clustering import ClusteringPlan, evaluate_clustering
from variolite.scoring.evaluation import Entry, Evaluation, hold_out
from variolite.scoring.health import Health
from variolite.scoring.intervals import (
    Bootstrap,
    GroupSums,
    Interval,
    ScoredGroups,
    bootstrap_interval,
    intervals_of,
    paired_difference,
)
from variolite.scoring.scorecard import Scorecard, ScoreKey, ScoreRow, format_value

__all__ = [
    "Bootstrap",
    "ClusteringPlan",
    "Entry",
    "Evaluation",
    "GroupSums",
    "Health",
    "Interval",
    "ScoreKey",
    "ScoreRow",
    "Scorecard",
    "ScoredGroups",
    "bootstrap_interval",
    "evaluate_clustering",
    "format_value",
    "hold_out",
    "intervals_of",
    "paired_difference",
    "pca_whitened",
    "raw",
]
