"""What was learned from data, with its labels: to predict with, and to keep in a file."""

from .._means import MEANS
from .completion import CompletionFit, choose_completion, fit_completion
from .model import CompletionModel

__all__ = ["MEANS", "CompletionFit", "CompletionModel", "choose_completion", "fit_completion"]
