"""``lorasolve info``: what a bug report should say about the installation."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import platform
from typing import Any

from .._support.threads import available_threads, get_threads
from .._version import __version__
from ..io import envelope
from ._arguments import add_json_argument
from ._cache import cache_facts
from ._output import emit
from .base import Command, ExitCode

PACKAGES = ("numpy", "scipy", "sympy", "cvxpy", "numba", "matplotlib", "threadpoolctl", "joblib", "cloudpickle")


class InfoCommand(Command):
    """Print versions, threads, BLAS libraries and the kernel cache."""

    name = "info"
    summary = "versions, threads, BLAS, kernel cache"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        add_json_argument(parser)

    def run(self, args: argparse.Namespace) -> int:
        """Print the facts."""
        facts = {
            "version": __version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "packages": {name: _version(name) for name in PACKAGES},
            "threads": {"used": get_threads(), "available": available_threads()},
            "blas": _blas(),
            "cache": cache_facts(),
        }
        emit(args, envelope("info", facts), _text(facts))
        return ExitCode.FINE


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _blas() -> list[dict[str, Any]]:
    """Return the BLAS libraries that NumPy and SciPy have loaded."""
    importlib.import_module("scipy.linalg")
    from threadpoolctl import threadpool_info

    keys = ("internal_api", "version", "num_threads")
    return [{key: pool[key] for key in keys} for pool in threadpool_info() if pool["user_api"] == "blas"]


def _text(facts: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in facts["packages"].items())
    blas = ", ".join(f"{b['internal_api']} {b['version']} ({b['num_threads']} threads)" for b in facts["blas"])
    cache, threads = facts["cache"], facts["threads"]
    folder = cache["folder"] or "nowhere"
    return "\n".join(
        [
            f"lorasolve {facts['version']} on Python {facts['python']}, {facts['platform']}",
            f"packages  {packages}",
            f"threads   {threads['used']} used, {threads['available']} available (LORASOLVE_NUM_THREADS)",
            f"BLAS      {blas or 'none found'}",
            f"cache     {folder}: {cache['files']} files, {cache['megabytes']} MB (LORASOLVE_CACHE_DIR)",
        ]
    )
