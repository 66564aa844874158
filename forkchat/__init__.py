"""forkchat: a cluster chat server: pre-fork workers, presence in Redis, messages in MySQL."""

__version__ = "0.1.0"
