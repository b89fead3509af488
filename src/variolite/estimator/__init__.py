"""scikit-learn style estimators."""

from variolite.estimator.tabular_vae import TabularVAE

__all__ = ["TabularVAE"]
