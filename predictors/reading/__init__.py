"""Predictors' files read without trust: JSON value by value, trees node by node, before any library sees them."""
