"""The configuration: one TOML file, the environment and the flags, checked as a whole.

A flag overrides the environment. The environment overrides the file, and the file overrides the default.
etc/forkchat.toml shows every key with its unit and reason.
"""

from __future__ import annotations

import math
import operator
import os
import stat
import sysconfig
import tomllib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from forkchat.errors import ConfigError
from forkchat.log import LEVELS
from forkchat.wire import msgid, tables

#: Environment variables, and the keys that they set.
ENVIRONMENT = {"FORKCHAT_MYSQL_URL": "mysql.url", "FORKCHAT_REDIS_URL": "redis.url"}
_ORDERED = (
    ("limits.text", operator.lt, "limits.frame", "less than"),
    ("limits.frame_before_login", operator.le, "limits.frame", "at most"),
    ("session.heartbeat", operator.lt, "session.dead_after", "less than"),
)
#: Most workers, which is also the number of slots in the scoreboard.
MAX_WORKERS = 128

_MB = 1 << 20
#: Most KiB times passes of argon2id: about 2 s of processor time.
_MAX_HASH = 4 << 20


def _key(
    default: Any, *, at: tuple[float, float] = (-math.inf, math.inf), live: bool = False, **meta: Any
) -> Any:
    """Define a key with its smallest and largest value. SIGHUP can change the key if it is `live`.

    `choices`: the allowed values. `schemes`: the value is empty, or a URL, which may hold a password.
    `empty`: the value must not be empty, and this text is the hint for an empty one. `check`: finds the
    mistakes in a Table, and returns them by the names of its entries.
    """
    return field(default=default, metadata={"at": at, "live": live, **meta}, repr="schemes" not in meta)


class Table(dict[str, Any]):
    """A table of tables as the value of a key. The key's `check` finds its mistakes."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))


@dataclass(frozen=True)
class Server:
    workers: int = _key(4, at=(1, MAX_WORKERS))
    user: str = _key("")
    data_dir: str = _key("")
    pid_file: str = _key("")
    log_level: str = _key("info", choices=LEVELS, live=True)
    log_file: str = _key("")
    drain_time: float = _key(10.0, at=(0, 3600), live=True)
    worker_timeout: float = _key(30.0, at=(1, 3600), live=True)


@dataclass(frozen=True)
class Listen:
    host: str = _key("127.0.0.1", empty="0.0.0.0 stands for all addresses of this machine")
    port: int = _key(6000, at=(0, 65535))
    proxy_from: tuple[str, ...] = _key((), live=True)


@dataclass(frozen=True)
class MySQL:
    url: str = _key("", schemes=("mysql",))
    readers: int = _key(2, at=(1, 32))


@dataclass(frozen=True)
class Redis:
    url: str = _key("", schemes=("redis", "rediss", "unix"))


@dataclass(frozen=True)
class Limits:
    frame: int = _key(65536, at=(1024, 16 * _MB), live=True)
    frame_before_login: int = _key(4096, at=(1024, 16 * _MB), live=True)
    text: int = _key(8192, at=(1, 16 * _MB), live=True)
    login_time: float = _key(10.0, at=(0.1, 3600), live=True)
    message_rate: int = _key(50, at=(0, 10**6), live=True)
    message_burst: int = _key(200, at=(1, 10**6), live=True)
    login_rate: int = _key(20, at=(0, 1000), live=True)
    login_rate_address: int = _key(100, at=(0, 10**6), live=True)
    login_rate_account: int = _key(100, at=(0, 1000), live=True)
    register_rate: int = _key(20, at=(0, 10**6), live=True)
    session_rate: int = _key(120, at=(0, 10**6), live=True)
    begin_rate: int = _key(100, at=(0, 10**6), live=True)
    change_rate: int = _key(60, at=(0, 10**6), live=True)
    fault_burst: int = _key(100, at=(0, 10**6), live=True)
    friends: int = _key(1000, at=(0, 10**6), live=True)
    groups: int = _key(500, at=(0, 10**6), live=True)
    members: int = _key(10_000, at=(0, 10**6), live=True)
    connections_per_address: int = _key(0, at=(0, 10**6), live=True)
    strangers_per_address: int = _key(256, at=(0, 10**6), live=True)
    output: int = _key(_MB, at=(65536, 1024 * _MB), live=True)
    pending: int = _key(4096, at=(1, 10**6))


@dataclass(frozen=True)
class Session:
    heartbeat: float = _key(30.0, at=(0.1, 3600), live=True)
    dead_after: float = _key(90.0, at=(0.2, 86400), live=True)
    token_lifetime: int = _key(30 * 86400, at=(1, 10 * 365 * 86400), live=True)
    tokens: int = _key(20, at=(1, 1000), live=True)


@dataclass(frozen=True)
class Passwords:
    minimum: int = _key(8, at=(1, 64), live=True)
    refuse_common: bool = _key(True, live=True)
    memory: int = _key(19456, at=(1024, 4 << 20), live=True)
    time: int = _key(2, at=(1, 100), live=True)
    lanes: int = _key(1, at=(1, 64), live=True)


@dataclass(frozen=True)
class Retention:
    days: int = _key(0, at=(0, 100 * 365), live=True)
    messages: int = _key(0, at=(0, 10**9), live=True)


@dataclass(frozen=True)
class Classic:
    numbering: str = _key("auto")
    profile: str = _key("original")
    numberings: Mapping[str, Any] = _key(Table(), check=tables.numbering_problems)
    profiles: Mapping[str, Any] = _key(Table(), check=tables.profile_problems)


class Source(NamedTuple):
    """The origin of a configuration, kept in order to read it again."""

    path: str | None
    given: Mapping[str, Any]  # from the environment and the flags, as `{"listen.port": 6000}`


@dataclass(frozen=True)
class Config:
    server: Server = Server()
    listen: Listen = Listen()
    mysql: MySQL = MySQL()
    redis: Redis = Redis()
    limits: Limits = Limits()
    session: Session = Session()
    passwords: Passwords = Passwords()
    retention: Retention = Retention()
    classic: Classic = Classic()
    source: Source = field(default=Source(None, {}), repr=False, compare=False)

    @property
    def data_dir(self) -> Path:
        """The absolute path, without symbolic links. Raises ConfigError if it cannot be determined."""
        path = self.server.data_dir or _default_data_dir()
        try:
            return Path(os.path.realpath(Path(path).expanduser()))
        except (OSError, RuntimeError) as error:  # no working directory, or no home directory
            why = error.strerror if isinstance(error, OSError) else "no such user or home directory"
            raise ConfigError([f"server.data_dir: {path}: {why}; use an absolute path"]) from error

    def with_value(self, name: str, value: Any) -> Config:
        """Return a copy with another value for one key, such as `"mysql.url"`."""
        section, key = name.split(".")
        return replace(self, **{section: replace(getattr(self, section), **{key: value})})

    def reload(self) -> tuple[Config, list[str]]:
        """Read the file again. Return the new configuration and the keys that need a restart.

        The new configuration has only the changes that a running server can apply. The second value names the
        other keys whose values have changed. Raises ConfigError.
        """
        fresh, restart = _read(self.source), []
        for name, key in keys().items():
            old = _value(self, name)
            if not key.metadata["live"] and _value(fresh, name) != old:
                restart.append(name)
                fresh = fresh.with_value(name, old)
        return fresh, restart


def load(path: str | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """Return the configuration from the file `path` (None: no file), `environ` and `flags`.

    `flags` is `{"listen.port": 6000}`. A value of None means that the flag was not given. Raises ConfigError.
    """
    given: dict[str, Any] = {key: environ[name] for name, key in ENVIRONMENT.items() if environ.get(name)}
    given |= {key: value for key, value in flags.items() if value is not None}
    try:
        return _read(Source(path and os.path.abspath(path), given))
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: the working directory was removed"]) from error


def data_files(folder: str) -> Path:
    """Return the directory of the data files `folder` ("sql", "etc"), in the checkout or as installed."""
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / "setup.py").exists():
        return checkout / folder
    return Path(sysconfig.get_path("data"), "share/forkchat", folder)


def _default_data_dir() -> str:
    if os.getuid() == 0:
        return "/var/lib/forkchat"
    return os.path.join(os.environ.get("XDG_DATA_HOME") or "~/.local/share", "forkchat")


def keys() -> dict[str, Field[Any]]:
    """Return all keys by name, as `"listen.port"`."""
    sections: dict[str, Any] = {
        section.name: section.default for section in fields(Config) if section.name != "source"
    }
    return {f"{name}.{key.name}": key for name, section in sections.items() for key in fields(section)}


def values(config: Config) -> dict[str, Any]:
    """Return all keys with their values, as `{"listen.port": 6000}`. `load` accepts them as flags."""
    return {name: _value(config, name) for name in keys()}


def _value(config: Config, name: str) -> Any:
    section, key = name.split(".")
    return getattr(getattr(config, section), key)


def _read(source: Source) -> Config:
    given = dict(source.given)
    if source.path:
        given = _flatten(_parse(source.path)) | given
    known, config, problems = keys(), Config(source=source), {}
    for name, value in given.items():
        key = known.get(name)
        if key is None:
            problems[name] = "no such key"
            continue
        if isinstance(key.default, float) and type(value) is int:
            value = float(value)
        if isinstance(value, list | dict):
            value = tuple(value) if isinstance(value, list) else Table(value)
        found = _problems(name, value, key)
        problems |= found
        if not found:
            config = config.with_value(name, value)
    problems |= _contradictions(config, problems)
    if problems:
        origins = {name: "" if name in source.given else f"{source.path}: " for name in problems}
        raise ConfigError([f"{origins[name]}{name}: {why}" for name, why in problems.items()])
    return config


def _parse(path: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(_text(path))
        _check_integers(document)
        return document
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start + 1} is not UTF-8: save the file as UTF-8"]) from error
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, or a number too long for `int`
        raise ConfigError([f"{path}: not TOML: {error}"]) from error


def _check_integers(value: Any) -> None:
    """Check that every integer fits in 64 bits. Raises ValueError if one does not.

    TOML forbids longer integers. They may also be too long to be converted to a text or a float.
    """
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_integers(inner)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("an integer has more than 64 bits")


def _text(path: str) -> str:
    """Return the text of a regular file. Raises ConfigError for any other kind of file.

    A pipe could block the caller, and gives its text only once.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConfigError([f"{path}: must be a regular file, which signal HUP can read again"])
        return file.read().decode("utf-8-sig")  # editors on Windows write a byte order mark


def _flatten(document: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for section, value in document.items():
        if isinstance(value, dict) and (value or hasattr(Config, section)):
            flat |= {f"{section}.{key}": inner for key, inner in value.items()}
        else:
            flat[section] = value
    return flat


_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    tuple: "a list",
    Table: "a table",
}


def _problems(name: str, value: Any, key: Field[Any]) -> dict[str, str]:
    """Return the mistakes in a key's value, by the names of the key or of the table's entries."""
    problem = _problem(value, key)
    if problem is None and isinstance(value, Table):
        return {f"{name}.{inner}": why for inner, why in key.metadata["check"](value).items()}
    return {name: problem} if problem else {}


def _problem(value: Any, key: Field[Any]) -> str | None:
    kind, meta = type(key.default), key.metadata
    if type(value) is not kind:  # not isinstance: a bool is an int
        return f"must be {_KINDS[kind]}"
    if isinstance(value, str):
        if not value.strip() and "empty" in meta:
            return f"must not be empty; {meta['empty']}"
        return _text_problem(value, meta.get("choices"), meta.get("schemes"))
    if isinstance(value, Table):
        return None
    if isinstance(value, tuple):
        return next(filter(None, map(_network_problem, value)), None)
    if isinstance(value, bool):
        return None
    low, high = meta["at"]
    if not low <= value <= high:
        return f"{value} is not between {low} and {high}"
    return None


def _text_problem(value: str, choices: tuple[str, ...] | None, schemes: tuple[str, ...] | None) -> str | None:
    if not value.isprintable():
        return "must not contain control characters"
    if choices and value not in choices:
        return f"must be one of {', '.join(choices)}"
    # The error text does not contain the URL, because it may hold a password.
    if schemes and value and not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        return f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    return None


def _network_problem(value: Any) -> str | None:
    try:
        ip_network(value if isinstance(value, str) else "")  # ip_network also accepts numbers
    except ValueError:
        return f"{value!r} is not an address or a network, as 10.0.0.7 or 10.0.0.0/24"
    return None


def _contradictions(config: Config, problems: Mapping[str, str]) -> dict[str, str]:
    """Return the mistakes of keys that are valid on their own but not together."""
    sound = [rule for rule in _ORDERED if rule[0] not in problems and rule[2] not in problems]
    return (
        _unknown_names(config, problems)
        | _dear_passwords(config, problems)
        | {
            smaller: f"must be {text} {larger}"
            for smaller, holds, larger, text in sound
            if not holds(_value(config, smaller), _value(config, larger))
        }
    )


def _dear_passwords(config: Config, problems: Mapping[str, str]) -> dict[str, str]:
    """Return a mistake if hashing a password would take longer than a login can wait."""
    passwords = config.passwords
    cost = passwords.memory * passwords.time
    if cost <= _MAX_HASH or {"passwords.memory", "passwords.time"} & problems.keys():
        return {}
    return {"passwords.memory": f"{cost} with passwords.time multiplied: more than {_MAX_HASH} takes seconds"}


def _unknown_names(config: Config, problems: Mapping[str, str]) -> dict[str, str]:
    """Return the mistakes of keys that name an unknown table.

    A table's own mistakes are reported first.
    """
    classic = config.classic
    known = {
        "classic.numbering": ("auto", *msgid.NUMBERINGS, *classic.numberings),
        "classic.profile": (*tables.PROFILES, *classic.profiles),
    }
    return {
        name: f"must be one of {', '.join(names)}"
        for name, names in known.items()
        if _value(config, name) not in names and not any(each.startswith(name) for each in problems)
    }
