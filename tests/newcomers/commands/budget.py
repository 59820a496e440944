"""``lorasolve budget``: how many parameters an adapter of each rank has."""

import argparse

from lorasolve.commands import Command, ExitCode


class BudgetCommand(Command):
    """Print the number of parameters of both factors beside that of the matrix."""

    name = "budget"
    summary = "parameters of the factors of a matrix, by rank"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("m", type=int, help="rows")
        parser.add_argument("n", type=int, help="columns")
        parser.add_argument("rank", type=int, nargs="+", help="ranks")

    def run(self, args: argparse.Namespace) -> int:
        """Print one line for each rank."""
        for rank in args.rank:
            count = rank * (args.m + args.n)
            print(f"rank {rank}: {count} parameters, {100 * count / (args.m * args.n):.2f} % of {args.m} x {args.n}")
        return ExitCode.FINE
