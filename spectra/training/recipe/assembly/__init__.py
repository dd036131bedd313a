"""From a recipe to a trainer that is ready: model, data, metrics, what is measured before, and diagnostics attached."""
