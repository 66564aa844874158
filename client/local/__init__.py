"""Data that the client stores on this machine: settings, tokens, typed text, seen history."""
