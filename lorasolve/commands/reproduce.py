"""``lorasolve reproduce``: the experiments of the main paper, and the claims of every other."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._support.files import require_writable
from .._support.keywords import suggest
from .._support.progress import complain
from .._support.validate import as_path, as_text
from ..io import envelope, to_json
from ..papers import registry
from ..papers.base import Experiment
from ._arguments import add_json_argument, add_worker_arguments, as_options
from ._axes import chosen, help_text, option, options
from ._output import emit, show
from .base import Command, ExitCode, wrapped

if TYPE_CHECKING:
    from ._reproduction import Reproduction


class ReproduceCommand(Command):
    """Run experiments; without a name, list them."""

    name = "reproduce"
    summary = "run the experiments and hold the papers' claims against them: tables, figures and JSON, resumable"

    def __init__(self) -> None:
        # Whose axes are arguments.
        self.experiments = list(registry.classes())

    def main(self, argv: Sequence[str]) -> int:
        """Parse the arguments and run the command; help speaks of the axes of what is named beside it, if anything."""
        if not {"-h", "--help"}.isdisjoint(argv):
            accepted = names_by_word()
            self.experiments = [name for word in argv for name in accepted.get(word, ())] or self.experiments
        return super().main(argv)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument(
            "names",
            nargs="*",
            metavar="NAME",
            help="papers or experiments to run, or 'all' (none: list them and stop)",
        )
        parser.add_argument(
            "--quick", action="store_true", help="fewer seeds and smaller grids, written as NAME-quick.*"
        )
        parser.add_argument("--out", default="reproduced", metavar="DIR", help="where to write (default: reproduced)")
        parser.add_argument(
            "--pages",
            metavar="DIR",
            help="write a Markdown page for each paper into DIR, and their list as DIR.md; experiments not run keep "
            "their sections",
        )
        add_json_argument(parser)
        group = parser.add_argument_group("cells")
        group.add_argument(
            "--store",
            metavar="DIR",
            help="where finished cells are kept (default: 'store' in --out); another one runs all of them again",
        )
        add_worker_arguments(group, "loky")
        group = parser.add_argument_group(
            "axes",
            wrapped("values in place of an experiment's own (in brackets), for all named; results are NAME-chosen.*"),
        )
        for name, experiments in _axes(self.experiments).items():
            text = help_text(name, experiments)
            group.add_argument(option(name), dest=f"axis {name}", nargs="+", metavar="VALUE", help=text)

    def run(self, args: argparse.Namespace) -> int:
        """Run what is named, print each table; the exit code is 0 if every claim holds, 1 if not."""
        known = registry.classes()
        accepted = names_by_word()
        for name in args.names:
            if name not in accepted:
                raise ValueError(f"NAME: unknown experiment {name!r}.{suggest(name, list(accepted))}")
        names = list(dict.fromkeys(each for name in args.names for each in accepted[name]))
        if not names:
            self._refuse_beside_nothing(args)
            listed = {name: {"paper": cls.paper, "summary": cls.summary} for name, cls in known.items()}
            emit(args, envelope("list", {"experiments": listed}), _listing())
            return ExitCode.FINE
        from ._paper_page import pages_folder, write_pages

        given = {
            key.removeprefix("axis "): texts
            for key, texts in vars(args).items()
            if key.startswith("axis ") and texts is not None
        }
        for name in names:
            chosen(known[name](), args.quick, given)
        # Now, and not after hours of work.
        pages = None if args.pages is None else pages_folder(args.pages, [known[name].page() for name in names])
        done = self._reproduce(args, names, given)
        if args.json:
            with contextlib.suppress(BrokenPipeError):  # of a reader that has left
                show(to_json(envelope("reproductions", done.to_dict())))
        if done.interrupted:
            return ExitCode.INCONCLUSIVE
        if pages is not None:
            write_pages(pages, done.found)
        return ExitCode.FINE if done.ok else ExitCode.FALSE

    def _reproduce(self, args: argparse.Namespace, names: list[str], given: dict[str, list[str]]) -> _Done:
        """Run experiments one after the other, and print each unless one document is wanted of all."""
        from ._reproduction import reproduce

        done = _Done()
        out = pathlib.Path(as_path(args.out, "--out"))
        workers = {"store": args.store, "backend": args.backend, "n_jobs": args.jobs}
        for name in names:
            experiment = registry.classes()[name]()
            lacks = experiment.missing()
            if lacks is not None:
                as_text(lacks, f"{name}: missing")
                if name in args.names:
                    raise ValueError(f"NAME: {name} {lacks}")
                done.left_out[name] = lacks
                text = f"{name}: left out, {lacks}"
            else:
                require_writable(out / f"{name}.json", "--out")
                try:
                    with as_options(n_jobs="--jobs", store="--store", backend="--backend"):
                        done.found.append(reproduce(experiment, out, args.quick, given, **workers))
                except KeyboardInterrupt:
                    complain(f"{name}: interrupted; the same command continues from here")
                    done.interrupted = True
                    break
                text = str(done.found[-1])
            if not args.json:
                show(f"{text}\n", flush=True)
        return done

    def _refuse_beside_nothing(self, args: argparse.Namespace) -> None:
        """Refuse options for what is run where nothing is named to be run."""
        default = vars(self.parser().parse_args([]))
        changed = [name for name, value in vars(args).items() if value != default[name] and name != "json"]
        given = [option(name.removeprefix("axis ")) for name in changed]
        if given:
            raise ValueError(f"NAME: expected an experiment, a paper or all of them ('all') beside {', '.join(given)}")


@dataclass
class _Done:
    """What became of the experiments that were asked for."""

    found: list[Reproduction] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether every claim holds."""
        return all(each.ok for each in self.found)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data; records are in the files."""
        return {
            "ok": self.ok,
            "interrupted": self.interrupted,
            "experiments": [each.to_dict() for each in self.found],
            "left_out": self.left_out,
        }


def names_by_word() -> dict[str, list[str]]:
    """Return the experiments that each accepted name stands for: an experiment, a paper, or all."""
    known = registry.classes()
    papers = {cls.page(): [name for name in known if known[name].page() == cls.page()] for cls in known.values()}
    return {name: [name] for name in known} | papers | {"all": list(known)}


def _axes(names: Sequence[str]) -> dict[str, list[Experiment]]:
    """Return the axes of experiments, and whose each is."""
    known = registry.classes()
    found: dict[str, list[Experiment]] = {}
    for experiment in (known[name]() for name in dict.fromkeys(names)):
        for axis in options(experiment):
            found.setdefault(axis, []).append(experiment)
    return dict(sorted(found.items()))


def _listing() -> str:
    """Return the experiments by paper."""
    known = registry.classes()
    width = max(map(len, known))
    lines = ["lorasolve reproduce NAME [--quick]"]
    for paper in dict.fromkeys(cls.paper for cls in known.values()):
        pages = {cls.page() for cls in known.values() if cls.paper == paper} - known.keys()
        lines += ["", paper + "".join(f": lorasolve reproduce {page}" for page in pages)]
        lines += [f"  {name.ljust(width)}  {cls.summary}" for name, cls in known.items() if cls.paper == paper]
    return "\n".join(lines)
