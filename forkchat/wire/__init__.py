"""The pure protocol: frames, messages, states. The client shares it. It uses no socket, clock or file."""
