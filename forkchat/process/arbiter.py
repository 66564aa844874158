"""The master: listens, starts the private services, forks the workers, and obeys signals.

The master never touches a client's bytes. It imports neither the services' code nor their drivers.
"""

from __future__ import annotations

import os
import resource
import secrets
import select
import signal
import sys
import time
from functools import partial

from setproctitle import setproctitle

from forkchat import log
from forkchat.config import MAX_WORKERS, Config
from forkchat.errors import ConfigError, StartError
from forkchat.process import embedded, host, preflight
from forkchat.process.account import Account, let_write
from forkchat.process.embedded import Embedded
from forkchat.process.handover import Handover
from forkchat.process.listen import Listeners
from forkchat.process.parent import die_with
from forkchat.process.pidfile import PidFile
from forkchat.process.pool import Pool
from forkchat.process.scoreboard import Scoreboard
from forkchat.process.signals import SignalQueue

#: Seconds that workers have to end at once. Draining workers have them in addition to `drain_time`.
_GRACE = 3.0
#: Seconds in which the user's own MySQL and Redis must answer at the start.
_PATIENCE = 10.0
#: Seconds between checks of what no signal reports, such as heartbeats. The shorter interval applies at
#: first, until all workers are ready.
_TURN, _FIRST_TURNS = 1.0, 0.02


class Arbiter:
    def __init__(self, config: Config):
        self._config = config
        self._services = Embedded(config) if embedded.is_needed(config) else None
        self._board = Scoreboard(MAX_WORKERS)
        self._pool = Pool(self._board, config.server.workers, self._work)
        self._handover = Handover()
        self._boot = secrets.token_hex(4)
        self._stopping = False
        self._announced = False
        self._handlers = {
            signal.SIGTERM: self._handle_term,
            signal.SIGINT: self._handle_int,
            signal.SIGQUIT: self._handle_int,
            signal.SIGHUP: self._handle_hup,
            signal.SIGUSR1: self._handle_usr1,
            signal.SIGTTIN: self._handle_ttin,
            signal.SIGTTOU: self._handle_ttou,
            signal.SIGCHLD: self._handle_chld,
        }

    def run(self) -> int:
        """Serve until a signal asks to end. Return the exit status.

        Raises StartError if the server cannot start or go on.
        """
        server, where = self._config.server, self._config.listen
        self._pid = os.getpid()
        self._account = Account.choose(server.user)
        _open_log(self._config, self._account)
        _raise_file_limit()
        if self._services:
            self._services.lock()
        self._listeners = Listeners(where.host, where.port)
        self._host = host.identity(where.host, self._listeners.port)
        setproctitle(f"forkchat: master {self._host}")
        pid_file = PidFile(server.pid_file) if server.pid_file else None
        self._signals = SignalQueue()
        log.info("master.start", pid=os.getpid(), host=self._host, boot=self._boot)
        try:
            self._start_services()
            self._serve()
        except preflight.Interrupted:
            pass
        finally:
            self._stop()
            if pid_file:
                pid_file.remove()
            log.info("master.stop")
        return 0

    def _start_services(self) -> None:
        config = self._config
        if self._services:
            self._services.start()
            config = embedded.with_urls(config)
        found = preflight.run(preflight.migrate, config, _PATIENCE, self._signals, self._services)
        log.info("services.ready", **found)

    def _serve(self) -> None:
        while True:
            now = time.monotonic()
            log.follow()
            self._pool.reap(now)
            if self._stopping and self._pool.is_empty():
                return
            due = [now + (_TURN if self._announced else _FIRST_TURNS)]
            due.append(self._pool.kill_overdue(now, self._config.server.worker_timeout))
            if not self._stopping:
                due.append(self._pool.fill(now))
            if self._services:
                due.append(self._services.tend(now))
            self._announce()
            self._obey(min(due) - now)

    def _obey(self, timeout: float) -> None:
        """Wait for signals, at most `timeout` seconds, and handle them."""
        select.select([self._signals], [], [], max(0.0, timeout))
        for signum in self._signals.drain():
            self._handlers[signum]()

    def _announce(self) -> None:
        if self._announced or self._stopping or not self._pool.is_ready():
            return
        self._announced = self._pool.must_serve = True
        self._listeners.open()
        address, port = self._config.listen.host, self._listeners.port
        log.info("master.ready", address=address, port=port, workers=self._pool.size)
        if os.isatty(2):
            log.say(_welcome(address, port))

    def _handle_term(self) -> None:
        self._end(signal.SIGTERM, self._config.server.drain_time + _GRACE)

    def _handle_int(self) -> None:
        self._end(signal.SIGQUIT, _GRACE)

    def _end(self, signum: signal.Signals, seconds: float) -> None:
        log.info("master.end", signal=signum.name)
        self._pool.end(signum, time.monotonic() + seconds)
        if not self._stopping:
            self._stopping = True
            self._listeners.close()

    def _handle_hup(self) -> None:
        try:
            self._reload()
        except ConfigError as error:
            for problem in error.problems:
                log.error("config.refused", problem=problem, kept="the configuration as it was")
        except Exception as error:  # a bug or a lack of memory must not end the server
            log.exception("config.failed", error)

    def _reload(self) -> None:
        """Read the configuration again and pass it to the workers. Raises ConfigError if it is bad."""
        config, restart = self._config.reload()
        self._handover.write(config)
        self._config = config
        log.set_level(config.server.log_level)
        log.info("config.reload", file=config.source.path)
        if restart:
            log.warning("config.needs_restart", keys=",".join(restart))
        self._pool.send(signal.SIGHUP)

    def _handle_usr1(self) -> None:
        log.reopen()
        self._pool.send(signal.SIGUSR1)

    def _handle_ttin(self) -> None:
        self._pool.grow()

    def _handle_ttou(self) -> None:
        self._pool.shrink(time.monotonic() + self._config.server.drain_time + _GRACE)

    def _handle_chld(self) -> None:
        """Do nothing, because each turn reaps dead workers. The signal only starts a turn."""

    def _work(self, slot: int, generation: int) -> int:
        """Run a worker in the child. Return its exit status."""
        self._signals.close()
        if self._services:
            self._services.close()
        lease = f"{self._host}:{self._boot}:{slot}:{generation}"
        setproctitle(f"forkchat: worker {slot} {lease}")
        log.set_process(f"worker{slot}")
        from forkchat.process import worker  # imported while we are still allowed to read it

        worker.prepare()
        config = embedded.with_urls(self._config)
        self._account.become()
        die_with(self._pid)
        return worker.main(config, self._listeners.sockets, self._board, slot, lease, self._handover)

    def _stop(self) -> None:
        """End all workers, then stop the services. `run` calls this on every way out.

        The services stop last, because workers still write to them.
        """
        self._pool.end(signal.SIGQUIT, time.monotonic() + _GRACE)
        while not self._pool.is_empty():
            now = time.monotonic()
            self._pool.reap(now)
            self._pool.kill_overdue(now, self._config.server.worker_timeout)
            select.select([self._signals], [], [], _FIRST_TURNS)
            self._signals.drain()
        if self._services:
            self._services.stop()


def _open_log(config: Config, account: Account) -> None:
    server = config.server
    try:
        log.setup(server.log_level, server.log_file or None, "master", partial(let_write, account=account))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise StartError(f"cannot open the log file {server.log_file}: {why}") from error


def _welcome(address: str, port: int) -> str:
    """Return the text that tells a person at a terminal how to join, from here and from other machines."""
    local = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 (it is compared)
    chatcli = os.path.join(os.path.dirname(sys.argv[0]), "chatcli")
    whole = f"[{local}]" if ":" in local else local
    others = f"Other machines reach {address} if their network leads here"
    if address in ("127.0.0.1", "::1", "localhost"):
        others = "No other machine reaches it: start it with -b 0.0.0.0 for all of this machine's addresses"
    return (
        f"\nReady. Join from another terminal with {chatcli} {whole}:{port}, or with: nc {local} {port}\n"
        f"{others}.\nPasswords and messages go there in plaintext: for TLS put nginx before it "
        "(docs/operations.md).\n\n"
    )


def _raise_file_limit() -> None:
    """Raise the limit of open files to the hard limit, because each connection is a descriptor.

    The usual limit of 1024 is only a default.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
