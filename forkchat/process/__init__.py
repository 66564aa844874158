"""Processes: the master, the workers with their peers, and the private services."""
