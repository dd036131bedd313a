"""The ``spectra`` command: one thin file per command that parses, calls and prints."""
