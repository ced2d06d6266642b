"""Low-rank adaptation of a model's weights, as costs alone."""
