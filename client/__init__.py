"""A client of forkchat: a session sans I/O (`protocol`), an asyncio transport on it (`aio`), and chatcli."""

from client.aio.client import Client as Client
from client.protocol.events import Message as Message
