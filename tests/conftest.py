"""How the tests run: on how many threads, how often they look for garbage, and in which order."""

import gc
import os
from collections import Counter

# Their matrices are small, and idle workers of several pools spin against each other.
for name in ("LORASOLVE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Millions of expressions stay alive: going through them once every 700 new ones is an eighth of the time of proofs.
gc.set_threshold(50_000, 20, 20)

# Files of few tests that take long, the longest first.
LONG = (
    "papers/test_claims.py",
    "proofs/test_proof_modules.py",
    "campaign/test_campaign.py",
    "commands/test_terminals.py",
    "commands/test_compiled_ahead.py",
    "studies/test_ended_studies.py",
    "studies/test_studies.py",
    "kernels/test_cache.py",
    "newcomers/test_newcomers.py",
    "proofs/test_verify.py",
    "kernels/test_fast_forward.py",
    "studies/test_calls.py",
    "papers/test_reproduce.py",
    "attacks/test_attacks.py",
    "test_docs.py",
    "proofs/test_edits_by_hand.py",
    "test_benchmarks.py",
    "test_interruptions.py",
    "test_readme.py",
    "test_method.py",
    "test_layout.py",
    "proofs/test_coq.py",
)


def pytest_collection_modifyitems(config, items):
    """Give whole files to parallel processes long ones first, so that none is left to one process at the end."""
    if hasattr(config, "workerinput"):
        tests = Counter(item.path for item in items)
        place = {config.rootpath / "tests" / name: number for number, name in enumerate(LONG)}
        items.sort(key=lambda item: (place.get(item.path, len(LONG)), -tests[item.path]))
