"""Sources of photos, one module each."""
