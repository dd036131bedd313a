"""Numbers that turn a metric into a word."""

from __future__ import annotations

# Thresholds of WeightWatcher's labels, both strict; `htsr.md` section 7.
OVER_TRAINED_BELOW, UNDER_TRAINED_ABOVE = 2.0, 6.0
# Under this many eigenvalues alpha says little; the number TempBalance ignores layers under, too.
MIN_EVALS_FOR_LABEL = 50
# Strategies whose alphas the labels are about.
LABELLED_STRATEGIES = ("ks", "clip", "clip_compat")

# Of comparisons, spectra.compare. All are our choice; what each means is said beside it.
# Share of the squared norm of a change along the matrix itself, from which it is a rescaling: the rest of the change is then no
# more than a tenth of it.
RESCALED_SHARE = 0.99
# Rank of a change over the smaller side, up to which it is of low rank: adapters of rank 8 to 64 on sides of 512 to 8192 are,
# and a full-rank change is not.
LOW_RANK_SHARE = 1.0 / 8.0
# Mean squared cosine of the principal angles under which the leading subspace has turned: half of it lies elsewhere. Random
# subspaces of k in n dimensions have k / n.
TURNED_OVERLAP = 0.5
# Standard errors of the difference of two alphas, as of independent fits: 95 % of normal deviates are nearer. Fits of one
# matrix before and after share most of their error, so that fewer than 5 % of unmoved tails are called moved.
TAIL_STD_ERRORS = 2.0
# Cosine under which a leading singular vector is an intruder, and how many leading ones are looked at: defaults of
# ``threshold_epsilon`` and ``top_k`` in Hugging Face's PEFT, ``peft.tuners.lora.intruders.reduce_intruder_dimension`` (0.21).
INTRUDER_COSINE, NUM_DIRECTIONS = 0.5, 10
