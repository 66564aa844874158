"""Answers as the classic clients know them: lists of dumped strings, and a login that fits one recv."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from forkchat.wire import msgid as m
from forkchat.wire.chat import classic_json
from forkchat.wire.frames import PADDED_SIZE

#: What the original and its later course version say to people, by numbering and errno.
_TEXTS = {
    "notes": {1: "用户名或者密码错误", 2: "该账号已经登录，请重新输入新账号"},
    "course": {1: "id or password is invalid!", 2: "this account is using, input another!"},
}


class ClassicAnswers:
    """The answers to the two requests that have one, in one numbering ("notes" or "course")."""

    def __init__(self, numbering: str):
        self.numbering = m.Numbering(numbering)
        self._texts = _TEXTS[numbering]

    def registered(self, user: int) -> bytes:
        return self._json(m.REG_ACK, {"errno": 0, "id": user})

    def not_registered(self, errmsg: str) -> bytes:
        return self._json(m.REG_ACK, {"errno": 1, "errmsg": errmsg})

    def login_refused(self, errno: int, errmsg: str) -> bytes:
        """`errmsg` is said where the original has no text of its own (errno other than 1 and 2)."""
        text = self._texts.get(errno, errmsg)
        return self._json(m.LOGIN_ACK, {"errno": errno if errno in self._texts else 1, "errmsg": text})

    def logged_in(
        self,
        user: int,
        name: str,
        friends: list[dict[str, Any]],
        groups: list[dict[str, Any]],
        offline: list[dict[str, Any]],
        limit: int | None,
    ) -> tuple[bytes, int, bool]:
        """The login answer, how many of `offline` it holds, and whether lists were shortened.

        `limit` (bytes; None: unbounded) is for padded peers: `offlinemsg` takes what room is left;
        `groups[].users`, then `groups`, then `friends` are cut at their ends when even they do not fit.
        """
        answer: dict[str, Any] = {"errno": 0, "id": user, "name": name}
        dumped_friends = [_dumped(friend) for friend in friends]
        dumped_groups = [_Group(group) for group in groups]

        def encode(messages: list[str]) -> bytes:
            lists = {
                "friends": dumped_friends,
                "groups": [group.dumped() for group in dumped_groups],
                "offlinemsg": messages,
            }
            return self._json(m.LOGIN_ACK, answer | {key: value for key, value in lists.items() if value})

        messages = [_dumped(message) for message in offline]
        if limit is None:
            return encode(messages), len(messages), False
        is_short = _shorten(lambda: len(encode([])) <= limit, dumped_groups, dumped_friends)
        taken = _most(lambda count: len(encode(messages[:count])) <= limit, len(messages))
        return encode(messages[:taken]), taken, is_short

    def _json(self, msgid: int, fields: dict[str, Any]) -> bytes:
        return classic_json(fields | {"msgid": self.numbering.outbound(msgid)})


class _Group:
    def __init__(self, group: dict[str, Any]):
        self._fields = {key: value for key, value in group.items() if key != "users"}
        self.users = [_dumped(user) for user in group["users"]]

    def dumped(self) -> str:
        return _dumped(self._fields | {"users": self.users})


def _shorten(fits: Callable[[], bool], groups: list[_Group], friends: list[str]) -> bool:
    """Cut lists at their ends, each no more than need be, until `fits()`; whether anything was cut."""
    lists: list[list[Any]] = [*(group.users for group in reversed(groups)), groups, friends]
    for cut in lists:
        if fits():
            return cut is not lists[0]
        whole = cut[:]

        def fits_with(count: int, cut: list[Any] = cut, whole: list[Any] = whole) -> bool:
            cut[:] = whole[:count]
            return fits()

        cut[:] = whole[: _most(fits_with, len(whole))]
    return True


def _most(fits: Callable[[int], bool], whole: int) -> int:
    """The largest count up to `whole` that fits, 0 if none does: what fits, fits with less too."""
    if fits(whole):
        return whole
    return bisect_left(range(1, whole + 1), True, key=lambda count: not fits(count))


def _dumped(message: dict[str, Any]) -> str:
    return classic_json(message).decode()


#: The most bytes of JSON that a padded frame holds.
PADDED_ROOM = PADDED_SIZE - 1
