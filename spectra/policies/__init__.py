"""From diagnostics to one number per unit: pure functions, and plans that can be saved, read, edited and applied."""
