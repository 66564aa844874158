"""What can be typed, and what it does: one table for the screen and for scripts."""
