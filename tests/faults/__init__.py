"""Fault tests: clients that talk while things break, and laws that must hold for everything they saw."""
