"""A server that spoils what it sends, at each step of the protocol and in each way."""
