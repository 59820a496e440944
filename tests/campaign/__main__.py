"""All campaigns, one after the other: ``python tests/campaign [--quick]``; the last line is the figure of all."""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
LONG = {"api": ["--cases", "20000"], "commands": ["--cases", "1500", "--kills", "100"], "faults": ["--long"]}
QUICK = {"api": ["--cases", "600"], "commands": ["--cases", "16", "--kills", "2"], "faults": []}


def main() -> int:
    """Run the campaigns as processes of their own, so that a crash of one is seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a part of each, in about a minute")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args()
    began = time.monotonic()
    totals = [0, 0, 0, 0]
    for name, options in (QUICK if args.quick else LONG).items():
        command = [sys.executable, str(HERE / f"{name}.py"), "--seed", str(args.seed), *options]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(run.stdout, end="", flush=True)
        figures = re.search(r"(\d+) tried, (\d+) wrong, (\d+) hung, (\d+) lost", run.stdout)
        if figures is None:
            print(f"{name}: crashed with code {run.returncode}")
            totals[1] += 1
        else:
            totals = [total + int(part) for total, part in zip(totals, figures.groups())]
    tried, wrong, hung, lost = totals
    print(
        f"{tried} tried, {wrong} wrong, {hung} hung, {lost} lost (seed {args.seed}, {time.monotonic() - began:.0f} s)"
    )
    return 1 if wrong + hung + lost else 0


if __name__ == "__main__":
    sys.exit(main())
