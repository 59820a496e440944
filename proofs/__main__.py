"""Check the theorems: ``python -m proofs [NAME ...]`` is ``lorasolve prove [NAME ...]``."""

import sys

from lorasolve.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["prove", *sys.argv[1:]]))
