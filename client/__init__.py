"""A client of forkchat: a sans-I/O session, an asyncio transport on it, and the terminal program."""
