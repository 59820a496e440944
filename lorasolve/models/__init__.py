"""What was learned from data, with its labels: to predict with, and to keep in a file."""

from .completion import MEANS, CompletionFit, CompletionModel, choose_completion, fit_completion

__all__ = ["MEANS", "CompletionFit", "CompletionModel", "choose_completion", "fit_completion"]
