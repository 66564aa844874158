"""The session on asyncio: it connects, reconnects, and lets requests be awaited."""
