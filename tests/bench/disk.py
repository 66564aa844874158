"""A disk with slow flushes, for the private MariaDB of a server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_SOURCE = """
#include <sys/syscall.h>
#include <unistd.h>
static int slowly(long call, int fd) { usleep(FLUSH); return syscall(call, fd); }
int fsync(int fd) { return slowly(SYS_fsync, fd); }
int fdatasync(int fd) { return slowly(SYS_fdatasync, fd); }
"""


def slow_disk(directory: Path, seconds: float) -> dict[str, str]:
    """Return the environment in which a server's MariaDB takes `seconds` longer for each flush."""
    shim, program = directory / "disk.so", directory / "mariadbd"
    compile_ = ["gcc", f"-DFLUSH={int(seconds * 1e6)}", "-shared", "-fPIC", "-x", "c", "-o", str(shim), "-"]
    subprocess.run(compile_, input=_SOURCE, text=True, check=True)
    real = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    program.write_text(f'#!/bin/sh\nLD_PRELOAD={shim} exec {real} "$@"\n')
    for path in (directory, program):  # MariaDB does not run as root
        path.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}
