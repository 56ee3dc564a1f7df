"""Verdicts for photos without labels: which photos, one stream of work, a file of rows."""
