"""Inference: photos in, inspections out."""
