"""Explanations: heat maps, checks of how far they can be trusted, and pictures of them."""
