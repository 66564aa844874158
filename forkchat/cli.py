"""The command `forkchat`: flags, configuration, and one clear line for each problem that prevents a start."""

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

#: Exit status for a bad configuration (sysexits.h). Supervisors do not restart after it, because a restart
#: cannot help.
EX_CONFIG = 78

#: Modules that only the server imports. `pip install .` leaves their packages out, because chatcli needs none
#: of them.
SERVER_MODULES = "MySQLdb", "argon2", "hiredis", "redis", "setproctitle", "zxcvbn_rs_py"

#: Flags that set a key of the configuration: flag, metavar, key, help.
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
    """Run the command and return its exit status.

    The status is 0, 1 (cannot start or go on), 2 (usage) or 78 (configuration). It is 130 if an interrupt
    came before anything had started.
    """
    _open_streams()
    os.umask(os.umask(0) & 0o077)  # our own files stay accessible to us
    arguments = _parser().parse_args(argv)
    flags = {name: getattr(arguments, name) for _, _, name, _ in _FLAGS}
    try:
        _check_packages()
        from forkchat.process import selftest  # imported late, because it needs the packages
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
    except KeyboardInterrupt:  # nothing that would have to be stopped has started yet
        return 130


def _check_packages() -> None:
    """Check that the server's packages are installed. Raises StartError if any is missing."""
    missing = [name for name in SERVER_MODULES if find_spec(name) is None]
    if missing:
        setup = Path(sys.argv[0]).resolve().with_name("setup")  # next to the launcher, in a checkout
        command = f"{sys.executable} -m pip install '.[server]', in the directory of forkchat's source"
        raise StartError(
            f"packages of the server are missing ({', '.join(missing)}); this installs them: "
            + (f"{setup} run" if setup.exists() else command)
        )


class _Stream(io.TextIOBase):
    """A standard stream that accepts any text, and drops what cannot be written."""

    def __init__(self, fd: int):
        self._fd = fd

    def write(self, text: str) -> int:
        log.say(text, self._fd)
        return len(text)


def _open_streams() -> None:
    """Open /dev/null for closed standard streams, because the next opened files would take their place."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number, which is `fd`
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
    """Return the number, or the text itself if it is no number.

    The configuration finds such a text later, so that all bad keys are listed at once.
    """
    try:
        return int(text)
    except ValueError:
        return text
