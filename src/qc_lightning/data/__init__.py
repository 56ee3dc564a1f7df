"""Sources of photos, and how they become batches."""
