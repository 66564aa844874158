"""One user's session with a server, sans I/O: bytes in, events out."""
