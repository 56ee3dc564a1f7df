"""What a run is worth: figures, intervals, verdicts, pictures, report."""
