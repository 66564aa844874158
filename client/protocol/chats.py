"""Chatting over a link: what comes is shown once and in order, what goes is sent until acknowledged."""

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
    Message,
    Problem,
    SendDelayed,
    SendFailed,
    Sent,
    Standing,
)
from client.protocol.link import Link
from client.protocol.login import RETRY_TIME
from client.protocol.outbox import Outbox, Pending, destination
from client.protocol.timelines import FETCH_PAUSE, Timelines
from forkchat.errors import Forbidden, NotFound, NotLoggedIn, NotMember, RateLimited, TooLarge, Unavailable
from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key

#: A login answer with so many conversations may have left some out.
MAX_LOGIN_CONVS = 500


class Chats:
    """`me` is the user's id, 0 before the first login."""

    def __init__(self, link: Link, follows_all: bool):
        self.me = 0
        self.name = ""
        self.outbox = Outbox()
        self._link = link
        self._followed: set[str] | None = None if follows_all else set()
        self._timelines = Timelines(self._followed)
        self._cursors = Cursors()
        self._sync_at = 0.0
        self._is_syncing = False

    def start(self, me: int, name: str, standings: list[Standing]) -> list[Event]:
        """Logged in. What another user has left is dropped; the same one goes on where he was."""
        events: list[Event] = []
        if self.me not in (0, me):
            events += self.drop("someone else has logged in")
        self.me, self.name = me, name
        self._is_syncing = False
        self._timelines.is_synced = len(standings) < MAX_LOGIN_CONVS
        return events + self._stand(standings)

    def restore(self, me: int, name: str, unsent: Iterable[Pending]) -> None:
        self.me, self.name = me, name
        for pending in unsent:
            if pending.cid not in self.outbox:
                self.outbox.add(Pending(pending.cid, pending.conv, pending.text))

    def drop(self, reason: str) -> list[Event]:
        """Forget everything of this user; messages that were not acknowledged have failed."""
        refused = NotLoggedIn(reason)
        self.me = 0
        self.forget_cursors()
        return [SendFailed(p.cid, p.conv, p.text, refused) for p in self.outbox.clear()]

    def forget_cursors(self) -> None:
        """The server's database is another one now (`epoch`), or the user is."""
        self._timelines = Timelines(self._followed)
        self._cursors = Cursors()

    def follow(self, conv: str, after: int) -> None:
        self._cursors.shown(conv, after, self._link.now)
        self._timelines.follow(conv, after, self._link.now)

    def send(self, to: str | int, text: str) -> Pending:
        """Raises BadRequest, TooLarge; UnicodeEncodeError for text that is no Unicode."""
        limit, size = self._link.limits["text"], len(text.encode())
        if size > limit:
            raise TooLarge(f"a text may have {limit} bytes, this one has {size}")
        conv = destination(to, self.me)
        self._link.check_size(*Pending("0" * 32, conv, text).fields(self.me))
        pending = Pending(secrets.token_hex(16), conv, text)
        self.outbox.add(pending)
        return pending

    def read(self, conv: str, seq: int) -> None:
        self._cursors.read(conv, seq, self._link.now)

    def on_group_answer(self, asked: dict[str, Any], answer: Answer) -> list[Event]:
        """We have made, joined or left a group."""
        if answer.msgid == m.GROUPS:
            if asked["op"] == "leave":
                self._forget(group_key(asked["groupid"]))
            return []
        conv = parse.conversation(answer.fields)
        first, last = parse.integer(answer.fields, "first", 1), parse.integer(answer.fields, "last", 0)
        standing = Standing(conv, last, max(first - 1, 0), 0, first)
        return self._show(self._timelines.stand(standing, self._link.now))

    def on_notice(self, frame: parse.Frame) -> list[Event]:
        notice = parse.notice(frame)
        if notice.kind in ("group_left", "group_removed") and notice.id == self.me:
            self._forget(notice.conv)
        return [notice]

    def on_error(self, frame: parse.Frame) -> list[Event]:
        """A 105. RECV alone is sent without a `rid`; over the rate limit it is sent again."""
        refused = parse.refusal(frame)
        if not isinstance(refused, RateLimited):
            return [Problem(f"the server reports: {refused.errmsg}")] if refused else []
        if frame.get("re") == m.RECV:
            self._cursors.recv_refused(self._link.now + (refused.retry_after or RETRY_TIME))
        return []

    def on_chat(self, frame: parse.Frame) -> list[Event]:
        """A message that came live."""
        events: list[Event] = []
        message = self._recognise(parse.message(frame, self.me), events)
        if not message.seq:
            return [message] if self._timelines.follows(message.conv) else []
        return events + self._show(self._timelines.live(message, self._link.now))

    def on_standings(self, frame: parse.Frame) -> list[Event]:
        """An unsolicited 112: some deliveries were left out."""
        return self._stand(parse.standings(frame))

    def advance(self) -> None:
        """Send what is due."""
        now = self._link.now
        if not self._timelines.is_synced and not self._is_syncing and self._sync_at <= now:
            self._sync({})
        for conv, after in self._timelines.due(now):
            fields = {"conv": conv, "after": after, "limit": self._link.limits["page"]}
            self._link.ask(m.FETCH, fields, partial(self._on_page, conv))
        for pending in self.outbox.due(now):
            pending.is_sent = True
            self._link.ask(*pending.fields(self.me), partial(self._on_acknowledged, pending))
        if self._cursors.deadline is not None and self._cursors.deadline <= now:
            self.flush_cursors()

    def flush_cursors(self) -> None:
        for msgid, fields in self._cursors.flush(self._link.now):
            if msgid == m.RECV:
                self._link.tell(msgid, fields)
            else:
                self._link.ask(msgid, fields, partial(self._on_read, fields["conv"]))

    def deadline(self) -> float | None:
        """When `advance` has something to do."""
        times = [self._timelines.deadline(), self.outbox.deadline(), self._cursors.deadline]
        if not self._timelines.is_synced and not self._is_syncing:
            times.append(self._sync_at)
        return min((time for time in times if time is not None), default=None)

    @property
    def is_idle(self) -> bool:
        """Everything was acknowledged, and nothing that we know of is missing."""
        return not self.outbox and self._timelines.is_whole

    def _forget(self, conv: str) -> None:
        """We are no longer in it."""
        self._timelines.forget(conv)
        self._cursors.forget(conv)

    def _on_read(self, conv: str, answer: Answer) -> list[Event]:
        if isinstance(answer.refused, Unavailable | RateLimited):
            self._cursors.read_refused(conv, self._link.now + (answer.refused.retry_after or RETRY_TIME))
        return []

    def _show(self, messages: list[Message]) -> list[Event]:
        for message in messages:
            self._cursors.shown(message.conv, message.seq, self._link.now)
        return list(messages)

    def _stand(self, standings: list[Standing]) -> list[Event]:
        now = self._link.now
        shown = []
        for standing in standings:
            self._cursors.stand(standing, now)
            shown += self._timelines.stand(standing, now)
        return self._show(shown)

    def _sync(self, after: dict[str, str]) -> None:
        self._is_syncing = True
        self._link.ask(m.SYNC, after, self._on_synced)

    def _on_synced(self, answer: Answer) -> list[Event]:
        if answer.refused:
            self._is_syncing = False
            self._sync_at = self._link.now + (answer.refused.retry_after or RETRY_TIME)
            return []
        standings = parse.standings(answer.fields)
        events = self._stand(standings)
        if answer.fields.get("more") is True and standings:
            self._sync({"after": standings[-1].conv})
            return events
        self._is_syncing = False
        return events + self._show(self._timelines.synced(self._link.now))

    def _on_page(self, conv: str, answer: Answer) -> list[Event]:
        refused, now = answer.refused, self._link.now
        if isinstance(refused, NotMember | NotFound | Forbidden):
            self._forget(conv)
        elif refused:
            self._timelines.retry(conv, now + (refused.retry_after or FETCH_PAUSE))
        if refused:
            return []
        page = [parse.message(item, self.me) for item in parse.objects(answer.fields, "msgs")]
        first, last = parse.integer(answer.fields, "first", 1), parse.integer(answer.fields, "last", 0)
        more = answer.fields.get("more") is True
        events: list[Event] = []
        known = [self._recognise(message, events) for message in page]
        return events + self._show(self._timelines.page(conv, known, first, last, more, now))

    def _recognise(self, message: Message, events: list[Event]) -> Message:
        """A message of ours that comes before, or instead of, its acknowledgement is acknowledged."""
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
        seq, ts = parse.integer(answer.fields, "seq"), parse.stored_at(answer.fields)
        self.outbox.remove(cid)
        message = Message(conv, seq, self.me, self.name, text, ts, cid, is_own=True, is_echo=True)
        shown = self._timelines.own(message, self._link.now)
        return [Sent(cid, conv, seq, text, ts), *self._show(shown)]
