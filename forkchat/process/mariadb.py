"""The private MariaDB: its data directory and its settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from forkchat.errors import StartError
from forkchat.process.private import make_dir
from forkchat.process.service import Spawn, program

PACKAGE = "mariadb-server"
#: Bytes of the longest data path. A longer file name than its buffers of 512 (FN_REFLEN) crashes MariaDB.
_LONGEST_PATH = 400

#: Settings for a machine that has other work too.
_SETTINGS = (
    "--skip-networking",
    "--skip-name-resolve",
    "--character-set-server=utf8mb4",
    "--transaction-isolation=READ-COMMITTED",
    "--innodb-flush-log-at-trx-commit=1",  # a commit is on the disk, as an acknowledgement promises
    "--innodb-buffer-pool-size=256M",
    "--max-connections=1000",  # enough for 128 workers
    "--performance-schema=OFF",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=8M",
    "--local-infile=OFF",
)


def command(data: Path, socket: Path) -> list[str]:
    """Return the command line of a server for the data directory `data`.

    `prepare` MUST have run before.
    """
    return [
        program("mariadbd", PACKAGE),
        "--no-defaults",  # MUST be first, or the system's configuration files are read
        f"--datadir={data / 'mysql'}",
        f"--socket={socket}",
        f"--pid-file={socket.with_suffix('.pid')}",
        f"--log-error={data / 'mysql.log'}",
        f"--tmpdir={data / 'mysql.tmp'}",
        *_SETTINGS,
    ]


def prepare(data: Path, link: Path, spawn: Spawn) -> None:
    """Make `mysql` in the data directory if there is none yet. Raises StartError if that fails.

    The directory is made under another name and then renamed, so that an interrupted start begins again.
    `link` leads to `data`. It is needed because mariadb-install-db, a shell script, fails on blanks in a
    path.
    """
    length = len(os.fsencode(data))
    if length > _LONGEST_PATH:
        raise StartError(
            f"the path of the data directory has {length} bytes, and MariaDB takes {_LONGEST_PATH}: use a "
            f"shorter --data-dir instead of {data}"
        )
    # MariaDB gets its own directory for temporary files, because it deletes the files of others in /tmp when
    # it starts.
    make_dir(data / "mysql.tmp", spawn.account, 0o700)
    if (data / "mysql").exists():
        return
    scratch = data / "mysql.new"
    shutil.rmtree(scratch, ignore_errors=True)
    make_dir(scratch, spawn.account, 0o700)
    argv = [
        program("mariadb-install-db", PACKAGE),
        "--no-defaults",
        f"--datadir={link / scratch.name}",
        f"--tmpdir={link / 'mysql.tmp'}",
        # No password is set, because access to the socket's directory already grants full access.
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    process = spawn.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = process.communicate()
    if process.returncode != 0:
        lines = output.decode(errors="replace").splitlines()
        why = "; ".join(line for line in lines if "ERROR" in line) or " ".join(lines[:3])
        raise StartError(f"cannot initialise MariaDB in {scratch}: {why}")
    scratch.rename(data / "mysql")
