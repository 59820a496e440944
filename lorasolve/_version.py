"""The version of the package, read by everything that names it."""

__version__ = "0.2.0.dev0"
