"""What chat means: handlers by msgid, sessions, delivery. Stores, bus and peers are handed in."""
