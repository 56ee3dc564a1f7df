"""Photos on a Ray cluster."""
