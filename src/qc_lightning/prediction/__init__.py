"""Parts of the command `predict`: photos to rows of verdicts."""
