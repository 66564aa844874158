"""Child processes that die with their parent, even if the parent is killed with SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal

from forkchat.errors import StartError

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Make the kernel kill this child when its parent, the process `parent`, ends.

    The child MUST have given up its privileges before, because a change of user cancels this. It MUST have
    been forked from the parent's main thread, because the signal comes when the forking thread ends.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # the parent ended before the kernel was asked
        os._exit(1)


def fork() -> int:
    """Call os.fork. Raises StartError if that fails: too many processes, or too little memory."""
    try:
        return os.fork()
    except OSError as error:
        raise StartError(
            f"no process can be started: {error.strerror}; raise the limit of processes (ulimit -u), or free "
            "memory"
        ) from error
