"""What is kept on this machine: settings, tokens, what was typed, the history seen."""
