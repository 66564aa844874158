"""Faults: clients that talk while things break, and the laws that must hold of what they saw."""
