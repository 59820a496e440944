"""A theorem that checks nothing."""

REFUSED = r"no checks"

CHECKS = ()
