"""Several methods on one problem, each judged against the optimum of what it minimises, in one table with a conclusion.

``runs`` runs them, ``rows`` makes a line of the runs of each, ``targets`` says what a method minimises and what the
least value of that is, ``tuning`` chooses step sizes, ``showcase`` lists every method there is, ``table`` writes the
lines as text, ``outcome`` says what they come to.
"""

from .outcome import Comparison
from .rows import Row
from .runs import compare
from .showcase import all_methods
from .targets import Target, target_of

__all__ = ["Comparison", "Row", "Target", "all_methods", "compare", "target_of"]
