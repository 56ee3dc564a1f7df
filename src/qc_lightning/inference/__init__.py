"""A trained classifier outside of training: photos in, inspections out."""
