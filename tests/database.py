"""New data directories of MariaDB, copied from one that is initialised once in each test process."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from forkchat.process.account import DEFAULT

#: The user that runs the servers of the tests; "": the current one.
ACCOUNT = DEFAULT if os.getuid() == 0 else ""


def make_database(data: Path) -> None:
    """Make the data directory `data`, whose root has no password."""
    subprocess.run(["cp", "-a", "--sparse=always", _initialised(), data], check=True)


@cache
def _initialised() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="forkchat-database-"))
    atexit.register(shutil.rmtree, directory)
    if ACCOUNT:
        shutil.chown(directory, ACCOUNT)
    data = directory / "mysql"
    subprocess.run(
        [
            *("mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--tmpdir={directory}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
            *([f"--user={ACCOUNT}"] if ACCOUNT else []),
        ],
        check=True,
        capture_output=True,
    )
    return data
