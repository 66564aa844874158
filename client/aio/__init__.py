"""The session on asyncio: connecting, reconnecting and awaitable requests."""
