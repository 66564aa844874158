"""Benchmarks: the load that the server carries, and its behaviour under overload.

They measure, and assert nothing.
"""
