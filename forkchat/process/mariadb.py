"""The private MariaDB: its data directory and its settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from forkchat.errors import StartError
from forkchat.process.service import Spawn, program

PACKAGE = "mariadb-server"

#: For a machine that has other work too.
_SETTINGS = (
    "--skip-networking",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--transaction-isolation=READ-COMMITTED",
    "--innodb-flush-log-at-trx-commit=1",  # a commit is on the disk: the promise of an acknowledgement
    "--innodb-buffer-pool-size=256M",
    "--max-connections=1000",  # those of 128 workers
    "--performance-schema=OFF",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=8M",
    "--local-infile=OFF",
)


def command(data: Path, socket: Path, log_path: Path) -> list[str]:
    """The command line of a server for the initialised directory `data`."""
    return [
        program("mariadbd", PACKAGE),
        "--no-defaults",  # first, or the system's configuration files are read
        f"--datadir={data}",
        f"--socket={socket}",
        f"--pid-file={socket.with_suffix('.pid')}",
        f"--log-error={log_path}",
        f"--tmpdir={_tmp(data)}",
        *_SETTINGS,
    ]


def prepare(data: Path, spawn: Spawn) -> None:
    """Make the data directory if there is none yet. Raises StartError.

    It is made under another name and then renamed: what was interrupted is done anew.
    """
    _make_private(_tmp(data), spawn)
    if data.exists():
        return
    scratch = data.with_name(f"{data.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    _make_private(scratch, spawn)
    argv = [
        program("mariadb-install-db", PACKAGE),
        "--no-defaults",
        f"--datadir={scratch}",
        f"--tmpdir={_tmp(data)}",
        # Without a password: whoever may enter the directory of the socket may do everything.
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    process = spawn.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate()
    if process.returncode != 0:
        lines = output.decode(errors="replace").splitlines()
        why = "; ".join(line for line in lines if "ERROR" in line) or " ".join(lines[:3])
        raise StartError(f"cannot initialise MariaDB in {scratch}: {why}")
    scratch.rename(data)


def _make_private(path: Path, spawn: Spawn) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    os.chown(path, *spawn.account)


def _tmp(data: Path) -> Path:
    """Its own directory for temporary files: a MariaDB that starts deletes what others have in /tmp."""
    return data.with_name(f"{data.name}.tmp")
