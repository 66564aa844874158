"""Tests of chatcli's start in this process: its arguments, and the state that it leaves."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from client.aio.server import Server
from client.local import files
from client.local.accounts import Account, Accounts
from client.local.settings import Settings
from client.main import chosen_server, main, make_parser
from client.protocol import link
from client.script.codes import OK, TIMEOUT, USAGE
from client.script.plain import Plain
from forkchat.wire import msgid as m
from tests.scripted import answer_all, scripted
from tests.server import until


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any kept data."""
    monkeypatch.setattr(files, "SETTINGS", tmp_path / "chatcli.toml")
    monkeypatch.setattr(files, "DATA", tmp_path)


def test_no_program_that_is_started_gets_the_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORKCHAT_PASSWORD", "secret")
    monkeypatch.setenv("FORKCHAT_NEW_PASSWORD", "secret")
    (tmp_path / "password").write_text("secret\n")
    with scripted(lambda connection: answer_all(connection, b"")) as port:
        where = ["-s", f"127.0.0.1:{port}", "-u", "li"]
        assert main(["send", *where, "--password-file", str(tmp_path / "password"), "bo", "hi"]) == OK
    assert not {"FORKCHAT_PASSWORD", "FORKCHAT_NEW_PASSWORD"} & set(os.environ)


def test_who_has_logged_in_cannot_be_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An unreadable file of accounts ends chatcli, because it also says which servers need TLS."""
    (tmp_path / "accounts.json").mkdir()
    with pytest.raises(SystemExit) as end:
        main(["send", "-s", "127.0.0.1:1", "-u", "li", "bo", "hi"])
    assert end.value.code == USAGE
    assert f"cannot be read: {tmp_path / 'accounts.json'}: Is a directory" in capfd.readouterr().err


def test_nobody_acknowledges(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORKCHAT_PASSWORD", "secret")
    monkeypatch.setattr(Plain, "patience", 0.2)
    with scripted(lambda connection: answer_all(connection, b"", silent={m.ONE_CHAT})) as port:
        assert main(["send", "-s", f"127.0.0.1:{port}", "-u", "li", "bo", "hi"]) == TIMEOUT
    assert "no answer in time" in capfd.readouterr().err


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORKCHAT_PASSWORD", "secret")
    monkeypatch.setattr(link, "HELLO_TIME", 0.2)
    with scripted(lambda connection: connection.makefile().read()) as port:
        assert main(["send", "-s", f"127.0.0.1:{port}", "-u", "li", "bo", "hi"]) == TIMEOUT
    told = capfd.readouterr().err
    assert told == f"-- nothing to chat with at 127.0.0.1, port {port}: no answer in time\n"


@pytest.mark.parametrize("job", [["send", "bo", "hi"], ["tail", "bo"], ["history", "bo"]])
def test_nobody_is_taken_for_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], job: list[str]
) -> None:
    """A job without a named user is refused if two users have logged in here.

    chatcli cannot know whose script runs the job.
    """
    accounts = Accounts(tmp_path / "accounts.json", "localhost:6000")
    accounts.save(Account(1, "li", "t1"))
    accounts.save(Account(2, "bo", "t2"))
    with pytest.raises(SystemExit) as ended:
        main(job)
    assert ended.value.code == USAGE
    assert "who? --user NAME, or FORKCHAT_USER" in capfd.readouterr().err


def test_pages_are_as_long_as_the_server_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORKCHAT_PASSWORD", "secret")
    heard: list[dict[str, Any]] = []

    def play(connection: socket.socket) -> None:
        heard.extend(answer_all(connection, b""))

    with scripted(play) as port:
        assert main(["history", "-s", f"127.0.0.1:{port}", "-u", "li", "g9", "-n", "120"]) == OK
        until(lambda: heard, "the client has gone")
    assert [request["limit"] for request in heard if request["msgid"] == m.FETCH] == [50]


def test_the_server_when_none_is_named(tmp_path: Path) -> None:
    parser, settings = make_parser(""), Settings(tmp_path / "none")
    assert chosen_server(parser, parser.parse_args([]), settings)[0] == Server("localhost", 6000)
