"""What the server carries, and what it does beyond that: measured, never asserted."""
