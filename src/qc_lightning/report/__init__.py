"""Reports, charts and model cards, made from a run's files only."""
