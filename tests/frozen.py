"""Importing this keeps what was imported before out of garbage collections, and shared with processes that are forked."""

import gc

gc.collect()
gc.freeze()
