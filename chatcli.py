"""The command `chatcli`. Ctrl+c ends it without a traceback even during its imports, which take a while."""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])  # bin/chatcli has blocked it

from client.main import main  # noqa: E402

__all__ = ["main"]
