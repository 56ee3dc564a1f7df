"""Sweeps: plan, run and rank many trainings from one command."""
