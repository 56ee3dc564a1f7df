"""Evaluation of a run: metrics, certificates, robustness, latency, agreement studies."""
