"""A server whose frames are spoiled, at each step of the protocol and in each way."""
