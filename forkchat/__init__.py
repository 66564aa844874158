"""A cluster chat server with pre-fork workers, presence in Redis and messages in MySQL."""

__version__ = "0.1.0"
