"""Writers of candidates: a model on this machine, an engine, a server, a function; :mod:`spectra.training.sdft` names them."""
