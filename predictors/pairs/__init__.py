"""Latency from (model, latency) pairs alone: a prior over operators, its likelihood, and the predictor on disk."""
