"""Answers as the classic clients know them: lists of dumped strings, and a login that fits one recv."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any

from forkchat.wire import msgid as m
from forkchat.wire.dialect import Dialect, kinds
from forkchat.wire.frames import PADDED_SIZE
from forkchat.wire.tables import PROFILES, numbering_of

#: What the original and its later course version say to people, by numbering and errno.
_TEXTS = {
    "notes": {1: "用户名或者密码错误", 2: "该账号已经登录，请重新输入新账号"},
    "course": {1: "id or password is invalid!", 2: "this account is using, input another!"},
}


class ClassicAnswers:
    """The answers to the two requests that have one, in one dialect."""

    def __init__(self, dialect: Dialect):
        self.dialect = dialect
        self._texts = _TEXTS.get(dialect.name, _TEXTS["notes"])

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
        dumped_friends = [self._dumped(friend) for friend in friends]
        dumped_groups = [_Group(group, self._dumped) for group in groups]

        def encode(messages: list[str]) -> bytes:
            lists = {
                "friends": dumped_friends,
                "groups": [group.dumped() for group in dumped_groups],
                "offlinemsg": messages,
            }
            return self._json(m.LOGIN_ACK, answer | {key: value for key, value in lists.items() if value})

        messages = [self._dumped(message) for message in offline]
        if limit is None:
            return encode(messages), len(messages), False
        users = [group.users for group in reversed(dumped_groups)]
        is_short = _shorten(lambda: len(encode([])) <= limit, [*users, dumped_groups, dumped_friends])
        taken = _most(lambda count: len(encode(messages[:count])) <= limit, len(messages))
        return encode(messages[:taken]), taken, is_short

    def _json(self, msgid: int, fields: dict[str, Any]) -> bytes:
        return self.dialect.json(fields | {"msgid": self.dialect.outbound(msgid)})

    def _dumped(self, message: dict[str, Any]) -> str:
        return self.dialect.json(message).decode()


class _Group:
    def __init__(self, group: dict[str, Any], dump: Callable[[dict[str, Any]], str]):
        self._dump = dump
        self._fields = {key: value for key, value in group.items() if key != "users"}
        self.users = [dump(user) for user in group["users"]]

    def dumped(self) -> str:
        return self._dump(self._fields | {"users": self.users})


def _shorten(fits: Callable[[], bool], lists: list[list[Any]]) -> bool:
    """Cut lists at their ends, the first ones first, no more than need be, until `fits()`; whether anything
    was cut. Bisected over all that they hold together, since each try writes the whole answer."""
    whole = [(cut, cut[:]) for cut in reversed(lists)]

    def fits_with(count: int) -> bool:
        for cut, everything in whole:
            cut[:] = everything[:count]
            count -= len(cut)
        return fits()

    size = sum(map(len, lists))
    left = _most(fits_with, size)
    fits_with(left)
    return left < size


def _most(fits: Callable[[int], bool], whole: int) -> int:
    """The largest count up to `whole` that fits, 0 if none does: what fits, fits with less too."""
    if fits(whole):
        return whole
    return bisect_left(range(1, whole + 1), True, key=lambda count: not fits(count))


#: The most bytes of JSON that a padded frame holds.
PADDED_ROOM = PADDED_SIZE - 1


def dialects(
    numbering: str, numberings: Mapping[str, Any], profile: str, profiles: Mapping[str, Any]
) -> tuple[ClassicAnswers, ...]:
    """The dialects that a server's classic clients may speak, as `[classic]` in the configuration says."""
    names = [*m.NUMBERINGS, *numberings] if numbering == "auto" else [numbering]
    fields = PROFILES[profile] if profile in PROFILES else profiles[profile]
    return tuple(ClassicAnswers(Dialect(numbering_of(name, numberings), fields)) for name in names)


class Guess:
    """Which of a server's dialects a classic peer speaks, told from the shape of its frames.

    `dialects` are all there are, the likeliest first. A frame that only some of them know leaves only these.
    """

    __slots__ = ("_all", "_is_doubted", "_left")

    def __init__(self, dialects: tuple[ClassicAnswers, ...]):
        self._all = self._left = dialects
        self._is_doubted = False

    @property
    def best(self) -> ClassicAnswers:
        return self._left[0]

    @property
    def is_auto(self) -> bool:
        """Whether there is a choice."""
        return len(self._all) > 1

    @property
    def is_sure(self) -> bool:
        """Whether the peer itself has shown which one it speaks."""
        return self.is_auto and len(self._left) == 1

    def hear(self, message: dict[str, Any]) -> bool:
        """Learn from a frame, its fields under their real names; False if it MUST have no effect.

        A frame that contradicts the earlier ones is taken for a broken one, but for a registration or a
        login, whose sender waits for the answer. The next one that does, with none between that agrees,
        proves that the earlier ones were wrong.
        """
        if not self.is_auto:
            return True
        shapes, msgid = kinds(message), message["msgid"]
        fitting = tuple(each for each in self._all if each.dialect.inbound(msgid) in shapes)
        if not fitting:
            return True
        left = tuple(each for each in self._left if each in fitting)
        if not left and not self._is_doubted and "password" not in message:
            self._is_doubted = True
            return False
        self._left = left or fitting
        self._is_doubted = False
        return True

    def prefer(self, name: str) -> None:
        """Until the peer shows otherwise, it speaks the dialect that its account spoke last."""
        self._left = tuple(sorted(self._left, key=lambda each: each.dialect.name != name))
