"""Memory of freed arrays: page faults as the system counts them, in processes of their own."""

import json
import os
import platform
import resource
import subprocess
import sys

import pytest

# Three arrays of 480 kB a round, as a loss of 300 x 200 makes them.
ROUNDS, PAGES = 50, 3 * 480_000 // resource.getpagesize()
SCRIPT = f"""
import json, resource
import numpy as np
import lorasolve as ls

problem = ls.Problem(ls.objectives.Huber(np.ones((2, 2))), rank=1, lam=0.1)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        X = np.ones((300, 200))
        E = X - 1.0
        G = E * 2.0
        del X, E, G
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = [faults(), faults()]
WORK
found += [faults(), faults()]
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what other allocators keep is their own affair")
@pytest.mark.parametrize(
    "work", ["ls.solve(problem)", "ls.certify(problem, np.zeros((2, 2)))", "ls.solve_convex(problem)"]
)
def test_pages_of_freed_arrays_are_not_faulted_in_again(work):
    program = SCRIPT.replace("WORK", work)
    # Workers of dask leave a limit of malloc in the environment of whoever starts them.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    _, before, _, after = json.loads(ran.stdout)
    if before < ROUNDS * PAGES / 2:
        pytest.skip("this process keeps freed memory as it is")
    assert after < ROUNDS
