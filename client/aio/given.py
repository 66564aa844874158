"""What the user was given and is done with: as much of it is confirmed to the server."""

from __future__ import annotations

from collections.abc import Callable

from client.protocol.events import Message


class Given:
    """The messages that the user has before them. `confirm(conv, seq)` is called when a conversation can be
    confirmed up to `seq`: what is done, below the first message that is not. What never gets done, since
    what was to be done with it failed, comes again in the user's next session, with what came after it.
    """

    def __init__(self, confirm: Callable[[str, int], None]):
        self._confirm = confirm
        self._open: dict[str, dict[int, Message]] = {}  # by conversation and number, in their order
        self._done: dict[str, int] = {}  # the last one that is

    def give(self, message: Message) -> None:
        if message.seq:
            self._open.setdefault(message.conv, {})[message.seq] = message

    def done(self, message: Message) -> None:
        """Once or more often."""
        conv, seq = message.conv, message.seq
        given = self._open.get(conv, {})
        if given.get(seq) is not message:
            return  # done before, or forgotten
        del given[seq]
        done = self._done[conv] = max(seq, self._done.get(conv, 0))
        if given:
            done = min(done, next(iter(given)) - 1)
        else:
            del self._open[conv]
        self._confirm(conv, done)

    def forget(self) -> None:
        """The server's database is another one, or the user is: the same numbers mean other messages."""
        self._open.clear()
        self._done.clear()
