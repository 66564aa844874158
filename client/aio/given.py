"""The messages that the user was given, and how far they can be confirmed to the server."""

from __future__ import annotations

from collections.abc import Callable

from client.protocol.events import Message


class Given:
    """The messages that were given to the user and are not done yet.

    `confirm(conv, seq)` is called when all messages of a conversation up to `seq` are done. A message never
    gets done if its processing failed. It comes again in the user's next session, together with the messages
    after it.
    """

    def __init__(self, confirm: Callable[[str, int], None]):
        self._confirm = confirm
        self._open: dict[str, dict[int, Message]] = {}  # by conversation and number, in the order of numbers
        self._done: dict[str, int] = {}  # the last message done, by conversation

    def give(self, message: Message) -> None:
        if message.seq:
            self._open.setdefault(message.conv, {})[message.seq] = message

    def done(self, message: Message) -> None:
        """Mark a message as done. Repeated calls have no effect."""
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
        """Forget all messages, because the database or the user has changed.

        The same numbers mean other messages then.
        """
        self._open.clear()
        self._done.clear()
