"""Check all theorems: ``python -m proofs [NAME ...] [--json] [--latex FILE]``."""

from lorasolve.symbolic.report import main

if __name__ == "__main__":
    raise SystemExit(main())
