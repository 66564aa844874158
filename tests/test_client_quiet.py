"""Tests of ignored users and muted conversations: the file that keeps them, their ends, and durations."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from client.commands.shell import UsageError
from client.local.quiet import Quiet
from client.screen.ignoring import end_of


def test_it_is_kept(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path / "12/quiet.json")
    quiet.ignore("bo", 0)
    quiet.ignore("eve", time.time() + 1000)
    quiet.mute("g9", 0)
    quiet.close("d12-57", 41)
    quiet.close("g8", 3)
    quiet.reopen("g8")
    again = Quiet(tmp_path / "12/quiet.json")
    assert again.ignored == quiet.ignored
    assert {*again.ignored} == {"bo", "eve"}
    assert (again.is_ignored("bo"), again.is_muted("g9"), again.closed) == (True, True, {"d12-57": 41})
    again.unignore("bo")
    again.unmute("g9")
    assert not Quiet(tmp_path / "12/quiet.json").is_ignored("bo")


def test_it_ends_in_time(tmp_path: Path) -> None:
    quiet = Quiet(tmp_path / "quiet.json")
    quiet.ignore("bo", time.time() - 1)
    quiet.mute("g9", time.time() - 1)
    assert (quiet.is_ignored("bo"), quiet.ignored, quiet.is_muted("g9"), quiet.muted) == (
        False,
        {},
        False,
        {},
    )


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"ignored": [], "muted": {}, "closed": {}}'),
        b'{"ignored": {"bo": "never"}, "muted": {}, "closed": {}}',
    ],
)
def test_a_damaged_file_is_put_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "quiet.json"
    path.write_bytes(content)
    quiet = Quiet(path)
    assert quiet.damaged
    assert quiet.damaged.read_bytes() == content
    assert not quiet.ignored
    quiet.ignore("bo", 0)
    assert Quiet(path).is_ignored("bo")


@pytest.mark.parametrize(
    ("duration", "seconds"), [("30m", 1800), ("1h", 3600), ("2d", 172_800), ("1w", 604_800)]
)
def test_durations(duration: str, seconds: int) -> None:
    before = time.time()
    assert before + seconds <= end_of(duration) <= time.time() + seconds


def test_no_duration() -> None:
    assert end_of("") == 0
    for duration in ("0h", "1", "h", "1y", "-1h", "1.5h", "99999d"):
        with pytest.raises(UsageError):
            end_of(duration)
