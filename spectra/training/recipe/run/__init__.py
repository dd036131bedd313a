"""A run of a recipe under way: its folder, log and checkpoints, the spectra on the way, and how it stops and goes on."""
