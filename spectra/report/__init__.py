"""Tables and figures: shows records, computes no diagnostics."""
