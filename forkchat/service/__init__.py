"""The meaning of chat: handlers by msgid, sessions, delivery. Stores, bus and peers are passed in."""
