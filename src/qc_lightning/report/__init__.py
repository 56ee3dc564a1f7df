"""Pages and pictures for people, from a run's files only."""
