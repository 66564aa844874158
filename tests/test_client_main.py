"""chatcli's start, in this process: its arguments, and what it leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client.local import files
from client.main import main
from client.script.codes import OK, TIMEOUT
from client.script.plain import Plain
from forkchat.wire import msgid as m
from tests.scripted import answer_all, scripted


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing is kept."""
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


def test_nobody_acknowledges(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORKCHAT_PASSWORD", "secret")
    monkeypatch.setattr(Plain, "patience", 0.2)
    with scripted(lambda connection: answer_all(connection, b"", silent={m.ONE_CHAT})) as port:
        assert main(["send", "-s", f"127.0.0.1:{port}", "-u", "li", "bo", "hi"]) == TIMEOUT
    assert "no answer from the server" in capsys.readouterr().err
