"""Many trainings from one command: which, how they survive each other, and which one won."""
