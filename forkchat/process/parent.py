"""A child process dies with its parent, also when that is killed with KILL."""

from __future__ import annotations

import ctypes
import os
import signal

from forkchat.errors import StartError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """In a child: have the kernel kill this process when its parent, the process `parent`, ends.

    The child MUST have given up its privileges before: a change of user cancels this. It MUST have
    been forked from the parent's main thread: the signal comes when the forking thread ends.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def fork() -> int:
    """As os.fork. Raises StartError where that fails: too many processes, or too little memory."""
    try:
        return os.fork()
    except OSError as error:
        raise StartError(
            f"no process can be started: {error.strerror}; raise the limit of processes (ulimit -u), or free "
            "memory"
        ) from error
