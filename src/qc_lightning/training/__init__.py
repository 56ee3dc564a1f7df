"""LightningModules, their data, their trainer, and what a run writes at its end."""
