"""Numbers that turn a metric into a word."""

from __future__ import annotations

# Thresholds of WeightWatcher's labels, both strict; `htsr.md` section 7.
OVER_TRAINED_BELOW, UNDER_TRAINED_ABOVE = 2.0, 6.0
# Under this many eigenvalues alpha says little; the number TempBalance ignores layers under, too.
MIN_EVALS_FOR_LABEL = 50
# Strategies whose alphas the labels are about.
LABELLED_STRATEGIES = ("ks", "clip", "clip_compat")
