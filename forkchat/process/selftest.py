"""`forkchat -t`: test the configuration and the services, change nothing, and say what was found."""

from __future__ import annotations

import os

from forkchat import log
from forkchat.config import Config
from forkchat.process import embedded, preflight
from forkchat.process.embedded import Embedded
from forkchat.process.lock import InUse
from forkchat.process.signals import SignalQueue


def run(config: Config) -> int:
    """The exit status: 0 if a server can start, 1 if interrupted. Raises StartError with what is wrong."""
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
    """Private services to start; None where those of a live master are there to be tested."""
    services = Embedded(config)
    try:
        services.lock()
    except InUse as live:
        print(f"{live}: its services are tested")
        return None
    return services


def _owner(config: Config) -> str:
    """The user of a live master's services, which may be those of an earlier version; "" if unknown."""
    try:
        return embedded.run_dir(config.data_dir).owner() if os.getuid() == 0 else ""
    except (OSError, KeyError):
        return ""


def _schema(version: int, newest: int) -> str:
    if version == newest:
        return f"schema {version}"
    return f"schema {version}; the next start brings it to {newest}"
