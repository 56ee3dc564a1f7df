"""The embedded photos: rendered machined parts with and without defects."""
