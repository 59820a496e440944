"""A standing adversary: it searches instances inside the stated assumptions on which a claim of the package fails.

One file a target. An attack has families of instances; each draws an instance, and judges the target on it against
something that is known about it independently (an optimum in extended precision, a better point, a closed form). What
fails is shrunk, written as a script that needs nothing from here, and reported only if that script fails too. A report
without findings says that nothing was found in so many trials: SAMPLED, never a proof.
"""

from .base import Attack, AttackReport, Family, Finding, attack, registry

__all__ = ["Attack", "AttackReport", "Family", "Finding", "attack", "registry"]
