"""`forkchat -t`: test the configuration and the services, change nothing, and report the result."""

from __future__ import annotations

import os

from forkchat import log
from forkchat.config import Config
from forkchat.process import embedded, preflight
from forkchat.process.embedded import Embedded
from forkchat.process.lock import InUse
from forkchat.process.signals import SignalQueue


def run(config: Config) -> int:
    """Run the test. Return the exit status: 0 if a server can start, 1 if interrupted.

    Raises StartError with everything that is wrong.
    """
    log.setup("warning", None, "test")
    print("configuration: ok")
    services = _lock(config) if embedded.is_needed(config) else None
    owner = _owner(config) if embedded.is_needed(config) and not services else ""
    queue = SignalQueue()
    try:
        if services:
            services.start()
        tested = embedded.with_urls(config).with_value("server.user", owner or config.server.user)
        found = preflight.run(preflight.inspect, tested, 0.0, queue, services)
    except preflight.Interrupted:
        return 1
    finally:
        if services:
            services.stop()
    print(f"MySQL {found['mysql']}: ok, {_schema(int(found['schema']), int(found['newest']))}")
    print(f"Redis {found['redis']}: ok")
    return 0


def _lock(config: Config) -> Embedded | None:
    """Return the private services to start.

    Return None if a live master's services are there to be tested instead.
    """
    services = Embedded(config)
    try:
        services.lock()
    except InUse as live:
        print(f"{live}: its services are tested")
        return None
    return services


def _owner(config: Config) -> str:
    """Return the user of a live master's services, or "" if unknown.

    An earlier version may have started them as another user.
    """
    try:
        return embedded.run_dir(config.data_dir).owner() if os.getuid() == 0 else ""
    except (OSError, KeyError):
        return ""


def _schema(version: int, newest: int) -> str:
    if version == newest:
        return f"schema {version}"
    return f"schema {version}; the next start brings it to {newest}"
