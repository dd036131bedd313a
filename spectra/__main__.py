"""``python -m spectra`` is the ``spectra`` command."""

import sys

from spectra.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
