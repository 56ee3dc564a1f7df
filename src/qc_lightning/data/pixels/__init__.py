"""Decoded pixels in memory and in cache files."""
