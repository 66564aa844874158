"""The client for scripts: lines or JSON in and out, one-shot commands, exit codes."""
