"""What every room stands on: errors, atomic files, a run's paths, timing, the machine."""
