"""The benchmarks lie beside the package and are not installed."""

import sys
from pathlib import Path

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "crystals")]
