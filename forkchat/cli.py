"""The command `forkchat`: flags, configuration, and one clear line for what keeps it from starting."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forkchat import __version__, config, log
from forkchat.errors import ConfigError, StartError

#: As in sysexits.h: supervisors do not try again what a new start cannot mend.
EX_CONFIG = 78

#: What is imported of the packages that `pip install .` leaves out, because chatcli needs none of them.
SERVER_MODULES = "MySQLdb", "argon2", "hiredis", "redis", "setproctitle", "zxcvbn_rs_py"

#: Flags that set a key of the configuration.
_FLAGS = (
    ("-w", "N", "server.workers", "number of worker processes"),
    ("-b", "HOST", "listen.host", "address to listen on"),
    ("-p", "PORT", "listen.port", "port to listen on; 0: any free one"),
    ("--data-dir", "DIR", "server.data_dir", "where the private MariaDB and Redis keep their data"),
    ("--pid", "FILE", "server.pid_file", "write the master's process id there"),
    ("--mysql-url", "URL", "mysql.url", "mysql://user@host/database: use this MySQL, no private one"),
    ("--redis-url", "URL", "redis.url", "redis://host/0: use this Redis, no private one"),
)
_EPILOG = """\
Anyone on this machine can read a password in a flag with `ps`: put URLs with a password into the
configuration file, or into FORKCHAT_MYSQL_URL and FORKCHAT_REDIS_URL in the environment.
Signals: TERM ends after draining, INT and QUIT at once; HUP re-reads the configuration, USR1 reopens
the log file, TTIN and TTOU start and end a worker."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 0, 1 (cannot start or go on), 2 (usage) or 78 (configuration)."""
    _open_streams()
    os.umask(os.umask(0) & 0o077)  # what we make, we may use
    arguments = _parser().parse_args(argv)
    flags = {name: getattr(arguments, name) for _, _, name, _ in _FLAGS}
    try:
        _check_packages()
        from forkchat.process import selftest  # here alone: without the packages there is no importing it
        from forkchat.process.arbiter import Arbiter

        loaded = config.load(arguments.config, os.environ, flags)
        return selftest.run(loaded) if arguments.test else Arbiter(loaded).run()
    except ConfigError as error:
        for problem in error.problems:
            log.say(f"forkchat: {problem}\n")
        return EX_CONFIG
    except StartError as error:
        for problem in str(error).splitlines():
            log.say(f"forkchat: {problem}\n")
        return 1
    except KeyboardInterrupt:  # while nothing has been started that would have to be stopped
        return 130


def _check_packages() -> None:
    """Raises StartError."""
    missing = [name for name in SERVER_MODULES if find_spec(name) is None]
    if missing:
        setup = Path(sys.argv[0]).resolve().with_name("setup")  # beside the launcher of a checkout
        command = f"{sys.executable} -m pip install '.[server]', in the directory of forkchat's source"
        raise StartError(
            f"packages of the server are missing ({', '.join(missing)}); this installs them: "
            + (f"{setup} run" if setup.exists() else command)
        )


class _Stream(io.TextIOBase):
    """A standard stream that takes any text: what cannot be written there is dropped."""

    def __init__(self, fd: int):
        self._fd = fd

    def write(self, text: str) -> int:
        log.say(text, self._fd)
        return len(text)


def _open_streams() -> None:
    """Open /dev/null for standard streams that are closed: else the next opened files take their place."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
    sys.stdout, sys.stderr = _Stream(1), _Stream(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="forkchat",
        description="A cluster chat server. With no MySQL and no Redis named it starts private ones.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-c", dest="config", metavar="FILE", help="configuration file (TOML)")
    for flag, metavar, name, text in _FLAGS:
        parser.add_argument(flag, dest=name, metavar=metavar, help=text, type=_value_of(name))
    parser.add_argument(
        "-t", dest="test", action="store_true", help="test configuration and services, then exit"
    )
    parser.add_argument("--version", action="version", version=f"forkchat {__version__}")
    return parser


def _value_of(name: str) -> Any:
    return _number if name in ("server.workers", "listen.port") else str


def _number(text: str) -> int | str:
    """What is no number is left for the configuration to find, so that all bad keys are listed at once."""
    try:
        return int(text)
    except ValueError:
        return text
