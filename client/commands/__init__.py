"""The commands that a user can type, in one table for the screen and for scripts."""
