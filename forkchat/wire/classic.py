"""Answers for classic clients: lists of dumped strings, and a login answer that fits one recv."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any

from forkchat.wire import msgid as m
from forkchat.wire.dialect import Dialect, kinds
from forkchat.wire.frames import PADDED_SIZE
from forkchat.wire.tables import PROFILES, numbering_of

#: Error texts of the original and of its later course version, by numbering and errno.
_TEXTS = {
    "notes": {1: "用户名或者密码错误", 2: "该账号已经登录，请重新输入新账号"},
    "course": {1: "id or password is invalid!", 2: "this account is using, input another!"},
}


class ClassicAnswers:
    """Answers in one dialect to registrations and logins. No other classic request is answered."""

    def __init__(self, dialect: Dialect):
        self.dialect = dialect
        self._texts = _TEXTS.get(dialect.name, _TEXTS["notes"])

    def registered(self, user: int) -> bytes:
        return self._json(m.REG_ACK, {"errno": 0, "id": user})

    def not_registered(self, errmsg: str) -> bytes:
        return self._json(m.REG_ACK, {"errno": 1, "errmsg": errmsg})

    def login_refused(self, errno: int, errmsg: str) -> bytes:
        """Return a login refusal.

        An errno other than 1 and 2 is sent as 1 with `errmsg`. The original has no text for it.
        """
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
        """Return the login answer, how many of `offline` it holds, and whether lists were shortened.

        `limit` is in bytes and for padded peers; None means no limit. `offlinemsg` takes the room that is
        left. If even the other lists do not fit, `groups[].users`, then `groups`, then `friends` are cut at
        their ends.
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
    """Cut the ends of lists, the first lists first, until `fits()`. Return whether anything was cut.

    The cut is minimal. A bisection over the lists' total length finds it, because each try writes the whole
    answer.
    """
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
    """Return the largest count up to `whole` that fits, 0 if none does.

    If a count fits, all smaller counts must fit.
    """
    if fits(whole):
        return whole
    return bisect_left(range(1, whole + 1), True, key=lambda count: not fits(count))


#: Bytes of JSON that a padded frame holds at most, because its NUL takes one byte.
PADDED_ROOM = PADDED_SIZE - 1


def dialects(
    numbering: str, numberings: Mapping[str, Any], profile: str, profiles: Mapping[str, Any]
) -> tuple[ClassicAnswers, ...]:
    """Return the dialects that classic clients may speak, as `[classic]` in the configuration says."""
    names = [*m.NUMBERINGS, *numberings] if numbering == "auto" else [numbering]
    fields = PROFILES[profile] if profile in PROFILES else profiles[profile]
    return tuple(ClassicAnswers(Dialect(numbering_of(name, numberings), fields)) for name in names)


class Guess:
    """The dialect that a classic peer speaks, guessed from the shape of its frames.

    `dialects` are the server's dialects, the likeliest first. A frame that only some of them know rules out
    the others.
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
        """True if there are several dialects."""
        return len(self._all) > 1

    @property
    def is_sure(self) -> bool:
        """True if the peer itself has shown which dialect it speaks."""
        return self.is_auto and len(self._left) == 1

    def hear(self, message: dict[str, Any]) -> bool:
        """Learn from a frame, its fields under their real names. Return False if it MUST have no effect.

        A frame that contradicts the earlier frames is taken for a broken frame. A registration or a login is
        not, because its sender waits for the answer. A second contradicting frame proves the earlier frames
        wrong, unless an agreeing frame came in between.
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
        """Assume the dialect `name`, which the account spoke last, until the peer shows otherwise."""
        self._left = tuple(sorted(self._left, key=lambda each: each.dialect.name != name))
