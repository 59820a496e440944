"""Numba kernels: plain compiled functions over arrays, shared by objectives, optimizers and sweeps.

Nothing here is imported until a kernel is first needed, so that ``import lorasolve`` stays light. Each kernel
states its operation and byte counts and is compared with a plain NumPy reference in the tests.
"""
