"""Numba kernels: plain compiled functions over arrays, shared by objectives, optimizers and sweeps.

Nothing here is imported until a kernel is first needed, so that ``import lorasolve`` stays light. Each kernel
states its operation and byte counts and is compared with a plain NumPy reference in the tests. Work is divided among
threads by ``each_part`` (``parts.py``); what a kernel makes or reshapes itself is compiled with it, so that callers
bring scratch memory and views.
"""
