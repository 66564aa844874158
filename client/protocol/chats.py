"""Chat over a link: messages are delivered once and in order, and sent until they are acknowledged."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from client.protocol import parse
from client.protocol.cursors import Cursors
from client.protocol.events import (
    Answer,
    ConnectionLost,
    Event,
    LoggedIn,
    Message,
    Problem,
    Readdressed,
    SendDelayed,
    SendFailed,
    Sent,
    Standing,
    Stranded,
)
from client.protocol.link import Link
from client.protocol.login import RETRY_TIME
from client.protocol.outbox import Outbox, Pending, destination
from client.protocol.timelines import FETCH_PAUSE, Timelines
from forkchat.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NotFound,
    NotLoggedIn,
    NotMember,
    RateLimited,
    TooLarge,
    Unavailable,
)
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key, pair_key, parse_key

#: Conversations. A login answer with this many may have left some out (docs/wire.md).
MAX_LOGIN_CONVS = 500


class Chats:
    """The conversations and the outbox of one user. `me` is the user's id, 0 while no user is known."""

    def __init__(self, link: Link, follows_all: bool):
        self.me = 0
        self.name = ""
        self.epoch = ""
        self.outbox = Outbox()
        self._me_in = ""  # the epoch to which the id `me` belongs
        self._names: dict[str, str] = {}  # people and groups by conversation, in this epoch
        self._link = link
        self._follows_all = follows_all
        self._timelines = Timelines(follows_all)
        self._cursors = Cursors()
        self._sync_at = 0.0
        self._is_syncing = False
        self._looks_again = False

    def start(self, logged_in: LoggedIn, standings: list[Standing]) -> list[Event]:
        """Begin the session of a user who has just logged in.

        Another user's state is dropped; the same user's state is kept.
        """
        events: list[Event] = []
        me, name = logged_in.id, logged_in.name
        if self.is_someone_else(logged_in):
            events += self.drop("someone else has logged in")
        self.me, self.name, self._me_in = me, name, self.epoch
        self._names |= {
            pair_key(me, friend.id): friend.name for friend in logged_in.friends if friend.id != me
        }
        self._names |= {group_key(group.id): group.name for group in logged_in.groups}
        self._is_syncing = self._looks_again = False
        self._timelines.is_synced = len(standings) < MAX_LOGIN_CONVS
        for standing in standings:
            self._timelines.correct(standing)
        return events + self._stand(standings)

    def doubt(self, logged_in: LoggedIn, standings: list[Standing]) -> str:
        """Return how the answer to a resumed login contradicts the known state; "" if it does not."""
        if self.is_someone_else(logged_in):
            return f"it logs in {logged_in.name}, {logged_in.id}, whom nobody has asked for"
        ends = (f"{each.conv} ends with {each.last}" for each in standings if self._timelines.is_beyond(each))
        return next(ends, "")

    @property
    def known_in(self) -> str:
        """The epoch of the ids that the user knows; "" if unknown.

        That is the epoch of the last login, else the server's.
        """
        return self._me_in or self.epoch

    def is_someone_else(self, logged_in: LoggedIn) -> bool:
        """Return True unless the login is of the same user as the last one.

        Names are compared if the epoch has changed, because ids mean other users then.
        """
        is_same_epoch = self._me_in in ("", self.epoch)
        return logged_in.id != self.me if is_same_epoch else logged_in.name != self.name

    def begin(self, epoch: str) -> bool:
        """Set the epoch of the server's database. Return True if it replaces another epoch.

        All ids and numbers of the earlier epoch are invalid then.
        """
        before, self.epoch = self.epoch, epoch
        if epoch != before:
            self.forget_cursors()
            self._names.clear()
            self.outbox.adopt(epoch)
        return before not in ("", epoch)

    def restore(self, me: int, name: str, unsent: Iterable[Pending], epoch: str) -> None:
        if (me, name) != (self.me, self.name):
            self.me, self.name, self._me_in = me, name, epoch
        self.epoch = self.epoch or epoch
        for pending in unsent:
            if not self.outbox.find(pending.cid):
                self.outbox.add(replace(pending, epoch=pending.epoch or self.epoch, is_sent=False, at=0.0))

    def drop(self, reason: str) -> list[Event]:
        """Forget the user's state. Return a SendFailed for each message that was not acknowledged."""
        refused = NotLoggedIn(reason)
        self.me = 0
        self.forget_cursors()
        return [SendFailed(p.cid, p.conv, p.text, refused) for p in self.outbox.clear()]

    def forget_cursors(self) -> None:
        """Forget all timelines and cursors, because the database (`epoch`) or the user has changed."""
        self._timelines = Timelines(self._follows_all, self._timelines.has_room)
        self._cursors = Cursors()

    def make_room(self, has_room: bool) -> None:
        """Set whether messages are delivered. Without room they wait at the server."""
        self._timelines.has_room = has_room

    def confirm(self, conv: str, seq: int) -> None:
        self._cursors.confirm(conv, seq, self._link.now)

    def follow(self, conv: str, first: int, last: int) -> None:
        if first > 1:
            self._cursors.hold(conv, first)
        self._cursors.confirm(conv, last, self._link.now)
        self._timelines.follow(conv, last, self._link.now)

    def send(self, to: str | int, text: str, name: str, cid: str) -> Pending:
        """Queue a message and return it. If its `cid` is queued already, return the queued message.

        Raises BadRequest or TooLarge if the message cannot be sent. Raises Conflict if the `cid` belongs to
        another queued message. Raises UnicodeEncodeError if the text is not valid Unicode.
        """
        limit, size = self._link.limits["text"], len(text.encode())
        if size > limit:
            raise TooLarge(f"a text may have {limit} bytes, this one has {size}")
        conv, epoch = destination(to, self.me), self.known_in
        if cid and (pending := self.outbox.find(cid)):
            if text != pending.text or (pending.epoch == epoch and conv != pending.conv):
                raise Conflict("the cid was used for something else")
            return pending
        name = name or self._names.get(conv, "")
        pending = Pending(cid or secrets.token_hex(16), conv, text, name, epoch)
        self._link.check_size(*pending.fields(self.me))
        self.outbox.add(pending)
        return pending

    def read(self, conv: str, seq: int) -> None:
        self._cursors.read(conv, seq, self._link.now)

    def on_group_answer(self, asked: dict[str, Any], answer: Answer) -> list[Event]:
        """Update the state after the user has made, joined or left a group.

        Raises BadRequest if the answer names another group than the request.
        """
        if answer.msgid == m.GROUPS:
            if asked["op"] == "leave":
                self._forget(group_key(asked["groupid"]))
            return []
        conv = parse.conversation(answer.fields)
        if answer.msgid == m.ADD_GROUP and conv != group_key(asked.get("groupid", 0)):
            raise BadRequest("it is another group")
        self._names[conv] = asked.get("groupname", "") or parse.text(answer.fields, "groupname", "")
        first, last = parse.integer(answer.fields, "first", 1), parse.integer(answer.fields, "last", 0)
        standing = Standing(conv, last, max(first - 1, 0), 0, first)
        return list(self._timelines.stand(standing, self._link.now))

    def on_found(self, fields: dict[str, Any]) -> None:
        """Remember the name of a user who was looked up."""
        user, name = parse.identifier(fields, "id"), parse.text(fields, "name")
        if user != self.me:
            self._names[pair_key(self.me, user)] = name

    def on_notice(self, frame: parse.Frame) -> list[Event]:
        notice = parse.notice(frame)
        if notice.kind in ("group_left", "group_removed") and notice.id == self.me:
            self._forget(notice.conv)
        return [notice]

    def on_error(self, frame: parse.Frame) -> list[Event]:
        """Handle an ERROR (105) that answers no request.

        A RECV has no `rid`, so its refusal arrives here. Over the rate limit the RECV is sent again later.
        """
        refused = parse.refusal(frame)
        if not isinstance(refused, RateLimited):
            return [Problem(f"the server reports: {refused.errmsg}")] if refused else []
        if frame.get("re") == m.RECV:
            self._cursors.recv_refused(self._link.now + (refused.retry_after or RETRY_TIME))
        return []

    def on_chat(self, frame: parse.Frame) -> list[Event]:
        """Handle a live message."""
        events: list[Event] = []
        message = self._recognise(parse.message(frame, self.me), events)
        if not message.seq:
            is_wanted = self._timelines.has_room and self._timelines.follows(message.conv)
            return [message] if is_wanted else []
        return events + self._timelines.live(message, self._link.now)

    def on_standings(self, frame: parse.Frame) -> list[Event]:
        """Handle an unsolicited CONVS (112), which means that the server has left out deliveries."""
        return self._stand(parse.standings(frame, self.me))

    def look_again(self) -> None:
        """Plan a SYNC of all conversations, because an unreadable frame may have been a message."""
        if not self._looks_again:
            self._looks_again = True
            self._sync_at = max(self._sync_at, self._link.now + RETRY_TIME)

    def advance(self) -> list[Event]:
        """Send all requests, messages and cursors that are due."""
        now = self._link.now
        events: list[Event] = []
        if self._is_sync_due and self._sync_at <= now:
            self._sync()
        for conv, after in self._timelines.due(now):
            fields = {"conv": conv, "after": after, "limit": self._link.limits["page"]}
            self._link.ask(m.FETCH, fields, partial(self._on_page, conv, after))
        for pending in self.outbox.due(now):
            if pending.epoch != self.epoch:
                events += self._seek(pending)
        for pending in self.outbox.due(now):
            pending.is_sent = True
            self._link.ask(*pending.fields(self.me), partial(self._on_acknowledged, pending))
        if self._cursors.deadline is not None and self._cursors.deadline <= now:
            self.flush_cursors()
        return events

    def _seek(self, head: Pending) -> list[Event]:
        """Find the receiver of a message from another epoch, and readdress the rest of its queue too.

        A person is looked up at the server. A group is sought among the user's own groups.
        """
        if head.name and not parse_key(head.conv).group:
            head.is_sent = True
            self._link.ask(m.LOOKUP, {"name": head.name}, partial(self._on_sought, head))
            return []
        groups = [conv for conv, name in self._names.items() if conv[0] == "g" and name == head.name]
        return self._readdress(head, groups[0]) if head.name and len(groups) == 1 else self._strand(head)

    def _on_sought(self, head: Pending, answer: Answer) -> list[Event]:
        if self.outbox.get(head.cid) is not head:
            return []
        if isinstance(answer.refused, Unavailable | RateLimited):
            is_lost = isinstance(answer.refused, ConnectionLost)
            head.is_sent = False
            head.at = self._link.now + (0.0 if is_lost else answer.refused.retry_after or RETRY_TIME)
            return []
        if answer.refused or (user := parse.identifier(answer.fields, "id")) == self.me:
            return self._strand(head)
        self.on_found(answer.fields)
        return self._readdress(head, pair_key(self.me, user))

    def _readdress(self, head: Pending, conv: str) -> list[Event]:
        moved = self.outbox.move(head.epoch, head.conv, self.epoch, conv)
        return [Readdressed(pending.cid, conv) for pending in moved]

    def _strand(self, head: Pending) -> list[Event]:
        who = head.name or head.conv
        refused = Stranded(
            f"the server has another database now, and nobody called {who} is found there", who
        )
        taken = self.outbox.take(head.epoch, head.conv)
        return [SendFailed(pending.cid, pending.conv, pending.text, refused) for pending in taken]

    def flush_cursors(self) -> None:
        for msgid, fields in self._cursors.flush(self._link.now):
            if msgid == m.RECV:
                self._link.tell(msgid, fields)
            else:
                self._link.ask(msgid, fields, partial(self._on_read, fields["conv"]))

    def deadline(self) -> float | None:
        """Return when `advance` has something to do; None if nothing is planned."""
        times = [self._timelines.deadline(), self.outbox.deadline(), self._cursors.deadline]
        if self._is_sync_due:
            times.append(self._sync_at)
        return min((time for time in times if time is not None), default=None)

    @property
    def is_idle(self) -> bool:
        """Every message was acknowledged, and no message that is known to exist is missing."""
        return not self.outbox and self._timelines.is_whole

    def _forget(self, conv: str) -> None:
        """Forget a conversation that the user is no longer in."""
        self._timelines.forget(conv)
        self._cursors.forget(conv)

    def _on_read(self, conv: str, answer: Answer) -> list[Event]:
        if isinstance(answer.refused, Unavailable | RateLimited):
            self._cursors.read_refused(conv, self._link.now + (answer.refused.retry_after or RETRY_TIME))
        return []

    def _stand(self, standings: list[Standing]) -> list[Event]:
        now = self._link.now
        shown: list[Event] = []
        for standing in standings:
            self._cursors.stand(standing, now)
            shown += self._timelines.stand(standing, now)
        return shown

    @property
    def _is_sync_due(self) -> bool:
        return not self._is_syncing and (self._looks_again or not self._timelines.is_synced)

    def _sync(self, after: str = "", known: frozenset[str] = frozenset()) -> None:
        """Ask where all conversations stand. `known`: the conversations of the pages before."""
        self._is_syncing, self._looks_again = True, False
        self._link.ask(m.SYNC, {"after": after} if after else {}, partial(self._on_synced, known))

    def _on_synced(self, known: frozenset[str], answer: Answer) -> list[Event]:
        if answer.refused:
            self._is_syncing = False
            self._sync_at = self._link.now + (answer.refused.retry_after or RETRY_TIME)
            return []
        standings, more = parse.standings(answer.fields, self.me), parse.flag(answer.fields, "more")
        events = self._stand(standings)
        convs = known | {standing.conv for standing in standings}
        if more and convs != known:
            self._sync(standings[-1].conv, convs)
            return events
        self._is_syncing = False
        return events + self._timelines.synced(self._link.now)

    def _on_page(self, conv: str, after: int, answer: Answer) -> list[Event]:
        refused, now = answer.refused, self._link.now
        if isinstance(refused, NotMember | NotFound | Forbidden):
            if self._timelines.refuse(conv, now):
                self._forget(conv)
        elif refused:
            self._timelines.retry(conv, now + (refused.retry_after or FETCH_PAUSE))
        if refused:
            return []
        page, first, last, more = parse.page(answer.fields, conv, after, self.me)
        events: list[Event] = []
        known = [self._recognise(message, events) for message in page]
        return events + self._timelines.page(conv, known, first, last, more, now)

    def _recognise(self, message: Message, events: list[Event]) -> Message:
        """Return the message, marked as an echo if it waits in the outbox.

        Such a message counts as acknowledged, because it came before, or instead of, its acknowledgement. Its
        Sent is added to `events`.
        """
        if not message.is_own and message.conv[0] == "d":
            self._names[message.conv] = message.name
        pending = self.outbox.get(message.cid) if message.is_own else None
        if pending is None:
            return message
        self.outbox.remove(message.cid)
        events.append(Sent(message.cid, message.conv, message.seq, message.text, message.ts))
        return replace(message, is_echo=True)

    def _on_acknowledged(self, pending: Pending, answer: Answer) -> list[Event]:
        cid, conv, text, refused = pending.cid, pending.conv, pending.text, answer.refused
        if self.outbox.get(cid) is not pending:
            return []
        if isinstance(refused, Unavailable | RateLimited):
            is_lost = isinstance(refused, ConnectionLost)
            pending.is_sent = False
            pending.at = self._link.now + (0.0 if is_lost else refused.retry_after or RETRY_TIME)
            return [SendDelayed(cid, conv, text, refused)]
        if refused:
            self.outbox.remove(cid)
            return [SendFailed(cid, conv, text, refused)]
        seq, ts = parse.number(answer.fields, "seq"), parse.stored_at(answer.fields)
        self.outbox.remove(cid)
        message = Message(conv, seq, self.me, self.name, text, ts, cid, is_own=True, is_echo=True)
        return [Sent(cid, conv, seq, text, ts), *self._timelines.own(message, self._link.now)]
