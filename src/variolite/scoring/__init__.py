"""Honest scores: held-out groups, several seeds, intervals, and baselines beside every number."""

from variolite.scoring.agreement import (
    adjusted_mutual_information,
    adjusted_rand_index,
    completeness,
    homogeneity,
    purity,
    v_measure,
)
from variolite.scoring.baselines import Whitening, fit_pca_whitening, pca_whitened, raw
from variolite.scoring.cluster_scores import METRICS, ClusterScores
from variolite.scoring.clusterers import (
    CLUSTERERS,
    Clusterer,
    FittedClusterer,
    clusterer,
    fitted_from_arrays,
    needs_k,
)
from variolite.scoring.contingency import LabelCodes, count_tables, drop_rare, encode_labels
from variolite.scoring.evaluate import ClusteringPlan, Representation, evaluate_clustering
from variolite.scoring.evaluation import (
    Entry,
    Evaluation,
    ScoreKey,
    SplitScores,
    compare,
    evaluate_splits,
)
from variolite.scoring.gmm import GaussianMixture, fit_gaussian_mixture
from variolite.scoring.group_means import GroupMeans, group_means
from variolite.scoring.health import ACTIVE_NATS, Dimension, Finding, Health, judge_health
from variolite.scoring.held_out import HeldOut, Penalty, hold_out, sample_by_group
from variolite.scoring.intervals import (
    Bootstrap,
    Interval,
    PairedDifference,
    ScoredGroups,
    bootstrap_interval,
    intervals_of,
    paired_difference,
    sign_flip_p,
)
from variolite.scoring.kmeans import KMeans, fit_kmeans
from variolite.scoring.mapping import (
    confusion,
    macro_f1,
    majority_map,
    mapped_accuracy,
    mean_penalty,
)
from variolite.scoring.reconstruction import (
    FeatureErrors,
    evaluate_likelihood,
    evaluate_reconstruction,
    feature_errors,
)
from variolite.scoring.scorecard import Scorecard, ScoreRow
from variolite.scoring.selection import RULES, choose_k, stability
from variolite.scoring.silhouette import distances, silhouette_values
from variolite.scoring.supervised import SupervisedPlan, evaluate_supervised
from variolite.scoring.table import format_scorecard, format_value

__all__ = [
    "ACTIVE_NATS",
    "CLUSTERERS",
    "METRICS",
    "RULES",
    "Bootstrap",
    "ClusterScores",
    "Clusterer",
    "ClusteringPlan",
    "Dimension",
    "Entry",
    "Evaluation",
    "FeatureErrors",
    "Finding",
    "FittedClusterer",
    "GaussianMixture",
    "GroupMeans",
    "Health",
    "HeldOut",
    "Interval",
    "KMeans",
    "LabelCodes",
    "PairedDifference",
    "Penalty",
    "Representation",
    "ScoreKey",
    "ScoreRow",
    "Scorecard",
    "ScoredGroups",
    "SplitScores",
    "SupervisedPlan",
    "Whitening",
    "adjusted_mutual_information",
    "adjusted_rand_index",
    "bootstrap_interval",
    "choose_k",
    "clusterer",
    "compare",
    "completeness",
    "confusion",
    "count_tables",
    "distances",
    "drop_rare",
    "encode_labels",
    "evaluate_clustering",
    "evaluate_likelihood",
    "evaluate_reconstruction",
    "evaluate_splits",
    "evaluate_supervised",
    "feature_errors",
    "fit_gaussian_mixture",
    "fit_kmeans",
    "fit_pca_whitening",
    "fitted_from_arrays",
    "format_scorecard",
    "format_value",
    "group_means",
    "hold_out",
    "homogeneity",
    "intervals_of",
    "judge_health",
    "macro_f1",
    "majority_map",
    "mapped_accuracy",
    "mean_penalty",
    "needs_k",
    "paired_difference",
    "pca_whitened",
    "purity",
    "raw",
    "sample_by_group",
    "sign_flip_p",
    "silhouette_values",
    "stability",
    "v_measure",
]
