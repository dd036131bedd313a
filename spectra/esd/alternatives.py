r"""Do other laws describe the tail better than the power law? Likelihood ratios, as in the powerlaw package.

For each alternative, with the log-likelihood ratio :math:`R = \sum_i d_i`,
:math:`d_i = \ell_i^{\text{power law}} - \ell_i^{\text{other}}` over the tail, Vuong's test gives the significance of its
sign: :math:`R / (\sqrt{n} \, \mathrm{sd}(d))` is standard normal if both laws are equally far from the truth. For the
truncated power law, which contains the power law, :math:`2|R|` is chi-squared with one degree of freedom, and R is never
positive.

powerlaw fits the lognormal, the exponential and the stretched exponential. The truncated power law is our own fit: the
package's optimiser stops short of the maximum at times, and then prefers the law that is contained in the other.

Source: Clauset, Shalizi and Newman (2009), arXiv 0706.1062, section 5; Vuong (1989), doi 10.2307/1912557.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import MissingPackageError
from spectra.esd.bootstrap import fitted_values
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.power_law import PowerLawFit
from spectra.esd.truncated_power_law import fit_truncated_power_law

if TYPE_CHECKING:
    import torch

_OF_POWERLAW = ("lognormal", "exponential", "stretched_exponential")

# arXiv 0706.1062, section 5: a sign is trusted at p < 0.1.
SIGNIFICANT_BELOW = 0.1


class Verdict(StrEnum):
    """What a comparison says."""

    POWER_LAW = "power law"
    """The power law is significantly better."""
    ALTERNATIVE = "alternative"
    """The alternative is significantly better."""
    UNDECIDED = "undecided"
    """The tail does not tell them apart."""
    FAILED = "failed"
    """The alternative could not be fitted; its numbers are NaN."""


# Output streams and warning filters belong to the process: two threads that swap them could leave them swapped.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class AlternativeFit:
    """One law beside the power law, on the same tail.

    Attributes:
        name: The law, as powerlaw calls it.
        log_likelihood_ratio: Normalised, positive where the power law is the better one.
        pvalue: Probability of a ratio at least as far from zero if the laws were equally good.
        verdict: What to conclude at a level of 0.1.
    """

    name: str
    log_likelihood_ratio: float
    pvalue: float
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values."""
        return dataclasses.asdict(self)


def compare_alternatives(eigenvalues: ArrayLike | torch.Tensor, fit: PowerLawFit) -> tuple[AlternativeFit, ...]:
    """Compare a power-law fit with four other laws on the same tail.

    Source: arXiv 0706.1062, section 5; powerlaw fits and compares all but the truncated power law, which is our own.

    Args:
        eigenvalues: The spectrum that was fitted.
        fit: Its fit; the tail starts at its ``xmin``.

    Returns:
        One comparison each for the lognormal, exponential, stretched exponential and truncated power law. They do not
        change when all eigenvalues are multiplied by a positive number.

    Raises:
        InputError: A fit of another spectrum, or one that left out the largest values.
        MissingPackageError: powerlaw is not installed.
    """
    values = fitted_values(eigenvalues, fit)
    # In units of xmin: the ratio does not depend on the unit, but powerlaw's optimisers do.
    tail = values[int(np.searchsorted(values, fit.xmin)) :] / fit.xmin
    return (*_with_powerlaw(tail), _with_truncated(tail))


def _with_powerlaw(tail: FloatArray) -> list[AlternativeFit]:
    """Compare through the package; the tail is in units of its start."""
    try:
        import powerlaw
    except ImportError:
        raise MissingPackageError('comparing laws needs powerlaw: pip install "powerlaw>=2.0"') from None
    found = []
    with _quiet():
        # Its default range of alpha ends at 3, and would silently compare another power law.
        theirs = powerlaw.Fit(tail, xmin=1.0, parameter_ranges={"alpha": [1.0, None]}, verbose=False)
        for name in _OF_POWERLAW:
            try:
                ratio, pvalue = theirs.distribution_compare("power_law", name, nested=False, normalized_ratio=True)
            except (ValueError, ArithmeticError, RuntimeError):
                ratio = pvalue = math.nan
            found.append(_judged(name, float(ratio), float(pvalue)))
    return found


def _with_truncated(tail: FloatArray) -> AlternativeFit:
    law = fit_truncated_power_law(tail, 1.0)
    if law.log_likelihood_ratio == 0.0:
        return _judged("truncated_power_law", 0.0, 1.0)
    log_u = np.log(tail)
    # What the laws' log-likelihoods have in common does not matter for the deviation.
    differences = (law.alpha - 1.0 - 1.0 / log_u.mean()) * log_u + law.rate * (tail - 1.0)
    deviation = float(differences.std())
    ratio = -law.log_likelihood_ratio / (math.sqrt(len(tail)) * deviation) if deviation > 0.0 else math.nan
    # Chi-squared with one degree of freedom, above 2 |R|.
    return _judged("truncated_power_law", ratio, math.erfc(math.sqrt(law.log_likelihood_ratio)))


def _judged(name: str, ratio: float, pvalue: float) -> AlternativeFit:
    if not (math.isfinite(ratio) and math.isfinite(pvalue)):
        return AlternativeFit(name, math.nan, math.nan, Verdict.FAILED)
    verdict = Verdict.UNDECIDED
    if pvalue < SIGNIFICANT_BELOW:
        verdict = Verdict.POWER_LAW if ratio > 0.0 else Verdict.ALTERNATIVE
    return AlternativeFit(name, ratio, pvalue, verdict)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence powerlaw, which prints and warns about every optimisation."""
    with (
        _ONE_AT_A_TIME,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield
