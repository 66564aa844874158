"""The private MariaDB and Redis of a data directory, used if no URL is given. Both use only Unix sockets.

<data> has `lock` and `services.lock` (see lock.py). It also has `mysql/`, `mysql.tmp/`, `mysql.log` and
`redis.log`. <run> has `mysql.sock`, `redis.sock`, and `data`, a link to <data>. The link gives the services a
path without blanks. The path of <run> depends only on <data>, so that `-t` finds a live master's services.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from forkchat.config import Config
from forkchat.errors import StartError
from forkchat.process import mariadb
from forkchat.process.account import Account, adopt
from forkchat.process.lock import DataLock
from forkchat.process.private import make_data_dir, make_dir, open_file
from forkchat.process.service import Service, Spawn, program

#: Seconds that the services have to stop before they are killed.
_STOP_TIME = 10.0
#: Bytes of free disk space below which MariaDB is not expected to start.
_LITTLE = 1 << 20


def is_needed(config: Config) -> bool:
    return not (config.mysql.url and config.redis.url)


def with_urls(config: Config) -> Config:
    """Return the configuration with the private services' URLs where none were given."""
    if not is_needed(config):
        return config
    run = run_dir(config.data_dir)
    if not config.mysql.url:
        config = config.with_value(
            "mysql.url", f"mysql://root@/forkchat?unix_socket={quote(str(run / 'mysql.sock'))}"
        )
    if not config.redis.url:
        config = config.with_value("redis.url", f"unix://{quote(str(run / 'redis.sock'))}")
    return config


class Embedded:
    """The private services as children of this process, which MUST call `stop` before it ends normally."""

    def __init__(self, config: Config):
        self._config = config
        self._services: list[Service] = []
        self._lock: DataLock | None = None

    def lock(self) -> None:
        """Lock the data directory, once the services of an earlier master have ended.

        Raises InUse at once if a live master has the directory. Raises StartError if it cannot be used.
        """
        data = self._config.data_dir
        with _reported(data):
            make_data_dir(data, Account.choose(self._config.server.user))
            self._lock = DataLock(data)

    def start(self) -> None:
        """Start the services; they may not answer yet. Raises StartError if that fails."""
        assert self._lock is not None, "call lock first"
        data, run = self._config.data_dir, run_dir(self._config.data_dir)
        spawn = Spawn(Account.choose(self._config.server.user), self._lock.services_fd)
        with _reported(data):
            for name in ("mysql", "mysql.tmp"):
                adopt(data / name, spawn.account)
            link = _make_run_dir(run, data, spawn.account)
            if not self._config.mysql.url:
                log_path = _log_file(data / "mysql.log", spawn)
                mariadb.prepare(data, link, spawn)
                argv = mariadb.command(link, run / "mysql.sock")
                self._services.append(Service("mariadb", argv, log_path, spawn))
            if not self._config.redis.url:
                log_path = _log_file(data / "redis.log", spawn)
                self._services.append(Service("redis", _redis_command(run, link), log_path, spawn))
            for service in self._services:
                service.start()

    def expect_alive(self) -> None:
        """Check that no service has died. Raises StartError if one has.

        A service that dies as it starts is not restarted, because another try would not help.
        """
        for service in self._services:
            if service.has_died():
                free = shutil.disk_usage(self._config.data_dir).free
                why = f"its disk has {free} bytes left" if free < _LITTLE else f"see {service.log_path}"
                raise StartError(f"the private {service.name} ended while it started; {why}")

    def tend(self, now: float) -> float:
        """Restart services that have died. Return the time of the next check, at the latest."""
        return min(service.tend(now) for service in self._services)

    def stop(self) -> None:
        deadline = time.monotonic() + _STOP_TIME
        for service in self._services:
            service.terminate()
        for service in self._services:
            service.wait(deadline)
        shutil.rmtree(run_dir(self._config.data_dir), ignore_errors=True)

    def close(self) -> None:
        """Unlock the data directory. In a forked child, only close the descriptors."""
        if self._lock is not None:
            self._lock.close()


@contextmanager
def _reported(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, str(data)) else ""
        raise StartError(f"cannot use the data directory {data}: {where}{error.strerror}") from error


def run_dir(data: Path) -> Path:
    """Return the directory of the sockets of `data`.

    Its path is short, because a socket's path has at most 107 bytes. It is not below $XDG_RUNTIME_DIR,
    because that directory is removed when its user logs out, and the server stays.
    """
    base = Path(f"/tmp/forkchat-{os.getuid()}" if os.getuid() else "/run/forkchat")  # noqa: S108 (make_dir looks who made it)
    return base / hashlib.sha256(os.fsencode(os.path.realpath(data))).hexdigest()[:8]


def _make_run_dir(run: Path, data: Path, account: Account) -> Path:
    """Make the run directory, with a link to `data` in it. Return the link."""
    make_dir(run.parent, Account(os.getuid(), os.getgid()), 0o700 if os.getuid() else 0o711)
    if run.is_symlink():
        run.unlink()
    shutil.rmtree(run, ignore_errors=True)  # left by a killed master, perhaps of another [server] user
    make_dir(run, account, 0o700, is_ours=True)  # its parent is ours, so only we could make it
    link = run / "data"
    link.symlink_to(data)
    return link


def _log_file(path: Path, spawn: Spawn) -> Path:
    """Make a log file that the services may write. Raises StartError if they cannot reach it."""
    descriptor = open_file(path, os.O_WRONLY | os.O_APPEND)
    os.fchown(descriptor, *spawn.account)
    os.close(descriptor)
    if spawn.popen(["test", "-w", str(path)], stdout=subprocess.DEVNULL).wait() != 0:
        raise StartError(
            f"the private services, which run as user {spawn.account.uid}, cannot get to {path}: use another "
            "--data-dir, or let others pass through the directories above it (chmod o+x)"
        )
    return path


def _redis_command(run: Path, data: Path) -> list[str]:
    """Return the command line of a Redis that stores nothing and is empty at every start."""
    return [
        *(program("redis-server", "redis-server"), "--port", "0", "--daemonize", "no"),
        *("--unixsocket", str(run / "redis.sock"), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--dir", str(run), "--logfile", str(data / "redis.log")),
        # Redis disconnects a worker that does not read. The worker then asks MySQL for what it missed.
        *("--client-output-buffer-limit", "pubsub", "64mb", "32mb", "30"),
    ]
