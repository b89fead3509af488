from .campaign import Campaign as Campaign
from .pool import Columns as Columns
from .pool import Pool as Pool
from .pool import Target as Target
from .pool import read_pool as read_pool
from .proposal import Proposal as Proposal
from .results import with_results as with_results
from .rules import Rules as Rules
