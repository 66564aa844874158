"""Many lean clients at once, to see what a server carries: what comes is counted, not parsed."""
