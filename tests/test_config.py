"""The configuration: every key documented, every mistake listed, no secret shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from forkchat.config import Config, Table, data_files, keys, load
from forkchat.errors import ConfigError
from forkchat.wire import msgid
from forkchat.wire.classic import dialects
from tests.server import ROOT, forkchat

EXAMPLE = ROOT / "etc/forkchat.toml"
KEYS = list(keys().values())


def problems(path: Path | None = None, **flags: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(
            str(path) if path else None, {}, {name.replace("__", "."): value for name, value in flags.items()}
        )
    return caught.value.problems


def test_the_example_shows_every_key_with_its_default() -> None:
    assert load(str(EXAMPLE), {}, {}) == Config()
    shown = re.findall(r"^(\w+) = .*# \S", EXAMPLE.read_text(), re.MULTILINE)
    assert shown == [key.name for key in KEYS if not isinstance(key.default, Table)]


def test_the_example_shows_tables_that_are_good_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(re.sub(r"^#(?=[\[\w])", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    classic = load(str(path), {}, {}).classic
    assert {*classic.numberings["mine"]} == {*msgid.CLASSIC}
    assert len(dialects(**vars(classic))) == 3
    assert classic.profiles["mine"]["errno"] == ["errno", "error"]


def test_the_example_marks_what_hup_can_change() -> None:
    marked = re.findall(r"^(\w+) = .*\(live\)$", EXAMPLE.read_text(), re.MULTILINE)
    assert marked == [key.name for key in KEYS if key.metadata["live"]]


def test_a_flag_goes_before_the_environment_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(
        '[listen]\nport = 7000\nhost = "::1"\n[redis]\nurl = "redis://file"\n[mysql]\nurl = "mysql://f/d"'
    )
    environ = {"FORKCHAT_REDIS_URL": "redis://env", "FORKCHAT_MYSQL_URL": ""}
    config = load(str(path), environ, {"listen.port": 8000, "listen.host": None})
    assert (config.listen.port, config.listen.host) == (8000, "::1")
    assert (config.redis.url, config.mysql.url) == ("redis://env", "mysql://f/d")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[limits]\nframe = true", "limits.frame: must be a whole number"),
        ("[limits]\nframe = 65536.0", "limits.frame: must be a whole number"),
        ("[limits]\nlogin_time = nan", "limits.login_time: nan is not between 0.1 and 3600"),
        ("[limits]\nlogin_time = inf", "limits.login_time: inf is not between 0.1 and 3600"),
        ("[limits]\nmessage_rate = -1", "limits.message_rate: -1 is not between 0 and 1000000"),
        ("[limits]\nframe = 8192", "limits.text: must be less than limits.frame"),
        (
            "[passwords]\nmemory = 4194304",
            "passwords.memory: 8388608 with passwords.time multiplied: more than 4194304 takes seconds",
        ),
        ("[session]\nheartbeat = 90", "session.heartbeat: must be less than session.dead_after"),
        ("[listen]\nport = 65536", "listen.port: 65536 is not between 0 and 65535"),
        ("[server]\nlog_level = 'loud'", "server.log_level: must be one of debug, info, warning, error"),
        ("[listen]\nhost = 5", "listen.host: must be a string"),
        ("[listen]\nproxy_from = '10.0.0.7'", "listen.proxy_from: must be a list"),
        (
            "[listen]\nproxy_from = ['10.0.0.7', '10.0.0.7/24']",
            "listen.proxy_from: '10.0.0.7/24' is not an address or a network, as 10.0.0.7 or 10.0.0.0/24",
        ),
        (
            "[listen]\nproxy_from = [7]",
            "listen.proxy_from: 7 is not an address or a network, as 10.0.0.7 or 10.0.0.0/24",
        ),
        ('[server]\npid_file = "a\\u0000b"', "server.pid_file: must not contain control characters"),
        ("[classic]\nnumbering = 'both'", "classic.numbering: must be one of auto, notes, course"),
        ("[classic]\nprofile = 'own'", "classic.profile: must be one of original, author"),
        ("[classic]\nnumberings = 7", "classic.numberings: must be a table"),
        ("[classic.profiles]\nmine = 7", "classic.profiles.mine: must be a table"),
        (
            "[classic.profiles.mine]\nerrno = 7",
            "classic.profiles.mine.errno: must be a name, or a list of names, of 1 to 32 characters",
        ),
        ("[limit]\nframe = 1", "limit.frame: no such key"),
        ("frame = 1", "frame: no such key"),
        ("[server.limits]\nframe = 1", "server.limits: no such key"),
    ],
)
def test_a_bad_key_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "f.toml"
    path.write_text(text)
    assert problems(path) == [f"{path}: {expected}"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[server]\r\nworkers = 1\r\nworkers = 2\r\n[listen]\r\n", "Cannot overwrite a value (at line 3"),
        ("[server]\n".encode("utf-16"), "byte 1 is not UTF-8: save the file as UTF-8"),
        (b"x = " + b"9" * 5000, "not TOML: Exceeds the limit"),
        (b"[server]\ndrain_time = 0x" + b"f" * 5000, "not TOML: an integer has more than 64 bits"),
        (b"[listen]\nproxy_from = [0x" + b"f" * 5000 + b"]", "not TOML: an integer has more than 64 bits"),
        (b"x = " + b"[" * 10_000, "not TOML: maximum recursion depth"),
        (b"x = " + b"{a = " * 10_000, "not TOML: maximum recursion depth"),
        (b"[servers]\n", "servers: no such key"),
        (b"[server]\n[listen]\n[limits]\ntext = 0\n", "limits.text: 0 is not between"),
    ],
)
def test_a_file_that_no_one_meant(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(data)
    (problem,) = problems(path)
    assert problem.startswith(f"{path}: {says}" if says[0].islower() else f"{path}: not TOML: {says}")


def test_a_file_as_editors_on_windows_write_it(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\r\nworkers = 7\r\n")
    assert load(str(path), {}, {}).server.workers == 7


def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(tmp_path: Path) -> None:
    """Only a regular file is accepted.

    `-c <(…)` would be read as empty on HUP, which would set every key to its default.
    """
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero")):
        assert problems(path) == [f"{path}: must be a regular file, which signal HUP can read again"]
    assert problems(tmp_path) == [f"{tmp_path}: Is a directory"]


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    assert problems(tmp_path / "none") == [f"{tmp_path}/none: No such file or directory"]
    assert problems(tmp_path) == [f"{tmp_path}: Is a directory"]
    for bad in (b"[server\n", b"\xff\xfe"):
        (tmp_path / "bad").write_bytes(bad)
        (problem,) = problems(tmp_path / "bad")
        assert "not TOML" in problem or "not UTF-8" in problem


def test_all_bad_keys_are_listed_at_once_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text('[mysql]\nurl = "http://u:geheim@h/d"\nreaders = 0\n[oops]\na = 1')
    result = forkchat("-c", str(path), "-w", "many", "-p", "99999", "--redis-url", "geheim")
    assert result.returncode == 78
    assert result.stderr.count("\n") == 6
    for name in ("mysql.url", "mysql.readers", "oops.a", "server.workers", "listen.port", "redis.url"):
        assert f"{name}: " in result.stderr
    assert "geheim" not in result.stderr + result.stdout


def test_all_mistakes_in_tables_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text(
        "[classic]\nnumbering = 'mine'\nprofile = 'none'\n"
        "[classic.numberings.mine]\nlogin = [1, 99]\nregister = 3\nchat = 1\noops = 7\n"
        "[classic.profiles.mine]\nerrno = 'id'\noops = 'x'"
    )
    assert {problem.removeprefix(f"{path}: ") for problem in problems(path)} == {
        "classic.numberings.mine: lacks add_friend, create_group, add_group, group_chat",
        "classic.numberings.mine.login: 99 is a sign of life to classic clients",
        "classic.numberings.mine.chat: 1 is login already",
        "classic.numberings.mine.register: must be two whole numbers, request and answer",
        "classic.numberings.mine.oops: no such message",
        "classic.profiles.mine.errno: id is id already",
        "classic.profiles.mine.oops: no such field",
    }
    path.write_text("[classic]\nnumbering = 'mine'\nprofile = 'none'")
    assert len(problems(path)) == 2


def test_a_password_is_not_in_the_repr() -> None:
    config = load(None, {}, {"mysql.url": "mysql://u:geheim@h/d", "redis.url": "redis://:geheim@h"})
    assert "geheim" not in repr(config) + repr(config.mysql)


def test_reload_keeps_what_needs_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_text("")
    config = load(str(path), {}, {"server.workers": 2})
    path.write_text("[listen]\nport = 7000\n[server]\nworkers = 9\n[limits]\ntext = 100")
    fresh, restart = config.reload()
    assert restart == ["listen.port"]
    assert (fresh.listen.port, fresh.server.workers, fresh.limits.text) == (6000, 2, 100)
    path.write_text("[limits]\ntext = 0")
    with pytest.raises(ConfigError):
        fresh.reload()


def test_the_data_files_are_there() -> None:
    assert data_files("sql") == ROOT / "sql"
