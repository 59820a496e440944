"""One thread for the tests: their matrices are small, and idle workers of several pools spin against each other."""

import os

for name in ("LORASOLVE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")
