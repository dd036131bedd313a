"""Fisher information: how sensitive the loss is to each parameter, neuron and layer.

``spectra.fisher(model, batches)`` is :func:`spectra.fisher.estimate.fisher`. The package that holds the function has its name,
and importing any of its modules puts the package in the place of the function; therefore the package can be called.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.results.fisher import Fisher


class _CallablePackage(ModuleType):
    """This package, which is also the function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Fisher:
        """Estimate the Fisher information: see :func:`spectra.fisher.estimate.fisher`."""
        from spectra.fisher.estimate import fisher

        return fisher(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
