"""Checks of a dataset: copies, shortcuts to the class, groups."""
