"""From a source to a report: all layers of a model, in parallel, with what was learned of each."""
