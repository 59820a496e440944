"""The version of the package, read by everything that names it."""

__version__ = "0.1.0"
