"""The user's messages that are not acknowledged yet, in the order in which they were written."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from forkchat.errors import BadRequest
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key, parse_key


@dataclass
class Pending:
    """A message that is not acknowledged yet.

    `name`: the receiver, a person or a group. `conv`: the receiver's conversation in that `epoch` of the
    server's database. Each of the three is "" if unknown.

    `is_sent`: the message, or the look-up of its receiver, is sent and unanswered. Otherwise the message may
    be sent from `at` on.
    """

    cid: str
    conv: str
    text: str
    name: str = ""
    epoch: str = ""
    is_sent: bool = False
    at: float = 0.0

    def fields(self, me: int) -> tuple[int, dict[str, str | int]]:
        """Return the msgid and the fields of the request that sends the message."""
        key = parse_key(self.conv)
        if key.group:
            return m.GROUP_CHAT, {"cid": self.cid, "groupid": key.group, "msg": self.text}
        return m.ONE_CHAT, {"cid": self.cid, "toid": key.other(me), "msg": self.text}


class Outbox:
    """A queue for each conversation. Only the head of a queue is on its way at a time.

    So messages keep their order even when the client must send one again. After a lost connection it resends
    at most the head of each queue, under its old `cid`.
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[str, str], deque[Pending]] = {}  # by epoch and conversation
        self._heads: dict[str, Pending] = {}

    def add(self, pending: Pending) -> None:
        queue = self._queues.setdefault((pending.epoch, pending.conv), deque())
        queue.append(pending)
        self._heads[queue[0].cid] = queue[0]

    def adopt(self, epoch: str) -> None:
        """Assign the messages that were written while the epoch was unknown to `epoch`."""
        for _, conv in [key for key in self._queues if not key[0]]:
            self.move("", conv, epoch, conv)

    def move(self, epoch: str, conv: str, to_epoch: str, to: str) -> list[Pending]:
        """Move a queue to the key that its conversation has in another epoch. Return the moved messages.

        They come before messages that were written since, but after a head that is on its way.
        """
        moved = self.take(epoch, conv)
        queue = self._queues.setdefault((to_epoch, to), deque())
        under_way = [queue.popleft()] if queue and queue[0].is_sent else []
        if queue:
            self._heads.pop(queue[0].cid, None)
        for pending in moved:
            pending.conv, pending.epoch, pending.is_sent = to, to_epoch, False
        queue.extendleft(reversed([*under_way, *moved]))
        self._heads[queue[0].cid] = queue[0]
        return moved

    def take(self, epoch: str, conv: str) -> list[Pending]:
        """Remove the queue of a conversation and return its messages."""
        taken = list(self._queues.pop((epoch, conv)))
        del self._heads[taken[0].cid]
        return taken

    def due(self, now: float) -> list[Pending]:
        return [head for head in self._heads.values() if not head.is_sent and head.at <= now]

    def deadline(self) -> float | None:
        return min((head.at for head in self._heads.values() if not head.is_sent), default=None)

    def get(self, cid: str) -> Pending | None:
        return self._heads.get(cid)

    def remove(self, cid: str) -> None:
        """Remove the head of a queue, because it was acknowledged or refused for good."""
        head = self._heads.pop(cid)
        queue = self._queues[head.epoch, head.conv]
        queue.popleft()
        if queue:
            self._heads[queue[0].cid] = queue[0]
        else:
            del self._queues[head.epoch, head.conv]

    def find(self, cid: str) -> Pending | None:
        """Return the message of this `cid` from any place in a queue; `get` finds only heads."""
        return next((each for queue in self._queues.values() for each in queue if each.cid == cid), None)

    def clear(self) -> list[Pending]:
        """Remove and return all messages. They will not be sent again."""
        rest = [pending for queue in self._queues.values() for pending in queue]
        self._queues.clear()
        self._heads.clear()
        return rest

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))


def destination(to: str | int, me: int) -> str:
    """Return the conversation that `to`, its key or a user's id, names.

    Raises BadRequest if `to` is the user's own id, an invalid key, or a conversation of other users.
    """
    if to == me:
        raise BadRequest("one cannot write to oneself")
    conv = pair_key(me, to) if isinstance(to, int) else to
    key = parse_key(conv)
    if not key.group and me not in key.users:
        raise BadRequest(f"{conv} is a conversation of others")
    return conv
