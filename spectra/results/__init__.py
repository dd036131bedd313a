"""The records of an analysis, and the one place that writes and reads them. Imports no other folder."""
