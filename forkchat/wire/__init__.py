"""The wire, pure: frames, messages, states. No socket, no clock, no file; shared with the client."""
