"""Inputs that nobody would think of, in great number."""
