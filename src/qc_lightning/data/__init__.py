"""Where photos come from and how they become batches."""
