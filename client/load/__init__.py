"""A load generator: many lean clients that count messages without parsing them, to measure a server."""
