"""Theorems about low-rank adaptation, one runnable module each, checked by machine.

``lorasolve prove`` or ``python -m proofs`` checks all of them; ``python proofs/NAME.py`` checks one. The index, with
every statement of the paper and how strongly it is shown, is ``proofs/README.md``.
"""
