"""The check of MySQL and Redis before the first worker starts.

It runs in a forked child, because the master imports no driver.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable

from forkchat import config as configuration
from forkchat.config import Config
from forkchat.errors import StartError
from forkchat.process import signals
from forkchat.process.account import Account, may_write
from forkchat.process.embedded import Embedded
from forkchat.process.parent import die_with, fork

#: Seconds in which a private MariaDB must answer, because it may have to recover from a crash.
RECOVERY_TIME = 300.0

Findings = dict[str, str]


class Interrupted(Exception):
    """A signal ended the preflight; nothing is wrong."""


def migrate(config: Config, deadline: float) -> Findings:
    """Check both services, and bring the schema up to date if nothing is wrong. Called in the child."""
    from forkchat.store import schema

    files = schema.read(configuration.data_files("sql"))
    found = inspect(config, deadline)
    log_file = config.server.log_file
    if log_file and not may_write(log_file):
        raise StartError(
            f"workers run as user {os.getuid()}, which cannot write to {log_file}: let it pass through the "
            "directories above, and own the file"
        )
    status = schema.migrate(config.mysql.url, files, deadline)
    return {"mysql": status.server, "schema": str(status.version), "redis": found["redis"]}


def inspect(config: Config, deadline: float) -> Findings:
    """Check both services as the workers' user, and change nothing. Called in the child.

    `newest` is the schema's version after a start. Raises StartError with a line for each problem.
    """
    from forkchat import store
    from forkchat.bus import check
    from forkchat.store import schema

    limits, files = config.limits, schema.read(configuration.data_files("sql"))
    Account.choose(config.server.user).become()
    found, problems = {}, []
    try:
        found["redis"] = check.check(config.redis.url, deadline, config.server.workers)
    except StartError as error:
        problems.append(str(error))
    try:
        sessions = config.server.workers * store.connections(config.mysql.readers)
        status = schema.status(config.mysql.url, files, deadline, limits.text, limits.frame, sessions)
        found |= {"mysql": status.server, "schema": str(status.version), "newest": str(status.newest)}
    except StartError as error:
        problems.append(str(error))
    if problems:
        raise StartError("\n".join(problems))
    return found


def run(
    job: Callable[[Config, float], Findings],
    config: Config,
    patience: float,
    queue: signals.SignalQueue,
    embedded: Embedded | None,
) -> Findings:
    """Run `job` in a child and return its findings.

    Both services must answer within `patience` seconds, or RECOVERY_TIME if `embedded`.

    Raises StartError if the job fails or an embedded service dies meanwhile. Raises Interrupted if a signal
    asks this process to end.
    """
    deadline = time.monotonic() + (RECOVERY_TIME if embedded else patience)
    reader, writer = os.pipe()
    parent = os.getpid()
    with signals.blocked():
        pid = fork()
        if pid == 0:
            _answer(parent, writer, queue, lambda: job(config, deadline))
    os.close(writer)
    try:
        _wait(reader, queue, embedded)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        answer = _read(reader)
        os.waitpid(pid, 0)
    if "error" in answer:
        raise StartError(answer["error"])
    return answer


def _answer(parent: int, writer: int, queue: signals.SignalQueue, job: Callable[[], Findings]) -> None:
    """Run the job in the child and write its answer. Never return."""
    try:
        queue.close()
        signals.set_defaults()
        die_with(parent)
        try:
            answer = job()
        except Exception as error:
            answer = {"error": str(error) if isinstance(error, StartError) else repr(error)}
        os.write(writer, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _wait(reader: int, queue: signals.SignalQueue, embedded: Embedded | None) -> None:
    came: list[signal.Signals] = []
    while reader not in select.select([reader, queue.fileno()], [], [])[0]:
        came += queue.drain()
        if {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT} & set(came):
            raise Interrupted
        if embedded:
            embedded.expect_alive()
    queue.put_back(came)  # such as HUP, because the configuration was read before it


def _read(reader: int) -> Findings:
    with open(reader, "rb") as file:
        text = file.read()
    return json.loads(text) if text else {"error": "the preflight ended without an answer"}
