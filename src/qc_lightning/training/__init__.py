"""LightningModules, their data, their trainer, and the files written at the end of a run."""
