"""The commands of the command line: one file each, found by this folder (see ``base.py`` for the protocol)."""

from .._support.registry import Registry
from .base import Command, ExitCode

registry: Registry[Command] = Registry(__name__, Command, "command")

__all__ = ["Command", "ExitCode", "registry"]
