"""Verdicts and metrics with intervals, from probabilities and labels."""
