"""Bytes and descriptors: the event loop, connections, the listener, threads beside the loop."""
