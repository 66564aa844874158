"""The full-screen client: drawing, keys and the input line."""
