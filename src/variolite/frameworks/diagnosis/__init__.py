"""What is the matter with generated frameworks: the data, the decoding, or the model."""

from variolite.frameworks.diagnosis.diagnose import Diagnosis, diagnose
from variolite.frameworks.diagnosis.findings import Figure, Finding, ModelFacts
from variolite.frameworks.diagnosis.tallies import Layout

__all__ = [
    "Diagnosis",
    "Figure",
    "Finding",
    "Layout",
    "ModelFacts",
    "diagnose",
]
