"""Fuzzing: large numbers of random inputs."""
