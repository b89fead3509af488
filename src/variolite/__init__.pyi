from . import errors as errors
from .crystals.estimator import CrystalVAE as CrystalVAE
from .errors import VarioliteError as VarioliteError
from .estimator import TabularVAE as TabularVAE
from .recipe import Recipe as Recipe
from .recipe import load_recipe as load_recipe
from .records import Column as Column
from .records import Records as Records
from .records import Schema as Schema
from .records import read_table as read_table
from .training import RunFolder as RunFolder

__version__: str
