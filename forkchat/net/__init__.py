"""Sockets, descriptors and threads: the event loop, connections, the listener, lanes for blocking calls."""
