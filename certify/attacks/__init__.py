"""Attacks: upper bounds on robustness that somebody achieved."""
