"""The full-screen client: what is drawn, and the keys."""
