"""How the layers of a run are spread over workers. Nothing about layers or spectra depends on it."""
