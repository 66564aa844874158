"""One private service (MariaDB or Redis): a daemon that is a child of this process and dies with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from forkchat import log
from forkchat.errors import StartError
from forkchat.process.account import Account
from forkchat.process.backoff import Backoff
from forkchat.process.parent import die_with

#: Directories of daemons, which are not on every user's PATH.
_PATH = os.pathsep.join([os.defpath, "/usr/local/sbin", "/usr/sbin", "/sbin"])


class Spawn(NamedTuple):
    """A way to start children that have the data directory open."""

    account: Account
    lock: int  # the descriptor of services.lock, which the children keep open while they live

    def popen(self, argv: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        """Start a program in a session of its own. Raises StartError if it cannot be started.

        Popen gives up privileges before it calls `preexec_fn`, as `die_with` requires.
        """
        privileges: dict[str, Any] = {}
        if os.getuid() == 0:
            privileges = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                env={"PATH": _PATH},  # our own may hold a password
                cwd="/",
                umask=0o077,
                start_new_session=True,
                pass_fds=(self.lock,),
                preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 (this process has one thread)
                **privileges,
                **more,
            )
        except OSError as error:  # too many processes, too little memory, or not a program
            raise StartError(f"{argv[0]} cannot be started: {error.strerror}") from error


def program(name: str, package: str) -> str:
    """Return the path of a program. Raises StartError, naming its Debian package, if it is missing."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), _PATH]))
    if path is None:
        raise StartError(
            f"{name} is not installed: install the package {package}, or name a server of your own"
        )
    return path


class Service:
    def __init__(self, name: str, argv: Sequence[str], log_path: Path, spawn: Spawn):
        self.name = name
        self.log_path = log_path
        self._argv = argv
        self._spawn = spawn
        self._process: subprocess.Popen[bytes] | None = None
        self._born = 0.0
        self._backoff = Backoff()
        self._start_at = 0.0

    def start(self) -> None:
        """Start the service. Raises StartError if it cannot be started."""
        self._process = self._spawn.popen(self._argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._born = time.monotonic()
        log.info("service.start", service=self.name, pid=self._process.pid)

    def has_died(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def tend(self, now: float) -> float:
        """Restart the service after a pause if it has died.

        Return the time of the next check, at the latest.
        """
        if self._process is not None:
            if self._process.poll() is None:
                return float("inf")
            lived = now - self._born
            log.error(
                "service.exit",
                service=self.name,
                status=self._process.returncode,
                lived=lived,
                log=self.log_path,
            )
            self._process = None
            self._start_at = now + self._backoff.pause(lived)
        if now < self._start_at:
            return self._start_at
        try:
            self.start()
        except StartError as error:
            log.error("service.start_failed", service=self.name, why=error)
            self._start_at = now + self._backoff.pause(0.0)
            return self._start_at
        return float("inf")

    def terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait for the service's end until `deadline`, then kill it.

        MariaDB can hang for good if it is stopped while it starts. The kill loses nothing, because everything
        that MariaDB acknowledged is on the disk.
        """
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("service.kill", service=self.name, pid=self._process.pid)
            self._process.kill()
            self._process.wait()
        log.info("service.stop", service=self.name, status=self._process.returncode)
        self._process = None
