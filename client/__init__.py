"""The client of forkchat: a sans-I/O session (`protocol`), its asyncio transport (`aio`), and chatcli."""

from client.aio.client import Client as Client
from client.protocol.events import Message as Message
