"""What one user has before them: their conversations, kept on this machine, brought up to date by the server.

No terminal here: events and the user's wishes in, conversations changed, notices out.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from client.aio.client import Client
from client.commands.directory import Directory
from client.commands.wording import Wording
from client.i18n import _
from client.local.history import History
from client.local.journal import Journal
from client.protocol import parse
from client.protocol.events import (
    Event,
    FriendState,
    Greeted,
    LoggedIn,
    Message,
    Notice,
    Receipt,
    SendFailed,
    Sent,
    Standing,
    Typing,
)
from client.protocol.outbox import Pending
from client.screen.conversations import HOME, Conversation, Conversations
from client.screen.transcript import Transcript
from client.text import clean_line, shown_name
from forkchat.errors import Forbidden, NotFound, NotLoggedIn, NotMember, Refused
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key, parse_key

#: Seconds for which someone types, after they were last said to.
_TYPING_TIME = 6.0
#: Messages that are fetched at once as one scrolls up; the pause after a fetch that failed.
_PAGE, _FETCH_PAUSE = 100, 2.0


class Desk:
    """`on_news(conversation, message)` is called for what came for the user, is not theirs and not old;
    `on_change` when there is something else to be seen than before.
    """

    def __init__(
        self,
        folder: Path,
        directory: Directory,
        on_news: Callable[[Conversation, Message], None],
        on_change: Callable[[], None],
    ):
        self.directory = directory
        self.conversations = Conversations(directory)
        self.client: Client
        self.history: History
        self.journal: Journal
        self._folder = folder
        self._on_news = on_news
        self._on_change = on_change
        self._wording = Wording(directory)
        self._epoch = ""  # the server's, as it said last
        self._tasks: set[asyncio.Task[None]] = set()
        self._open(None)

    @property
    def current(self) -> Conversation:
        return self.conversations[self.conversations.current]

    def restore(self, user: int, name: str) -> None:
        """This user's conversations, as they were left; what was not sent goes out once they log in."""
        if self.directory.me[0] != user:
            self._bring(user, name)
        self.client.session.restore(user, name, self.journal.unsent.values())

    def _bring(self, user: int, name: str) -> None:
        self.directory.me = user, name
        self.conversations.clear()
        self._open(self._folder / str(user))
        self.directory.load(json.loads(self.history.fact("directory") or "{}"))
        self.conversations.load(self.history.stands())
        for conv in self.conversations.listed():
            self._look_for_mentions(self.conversations[conv])
        self._check_epoch()

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._save()
        self.history.close()
        self._journal(Journal.close)

    def unkept(self) -> int:
        """How many messages and drafts will be lost when we end now. The disk is tried once more."""
        if self.journal.unkept:
            self._journal(Journal.tidy)
        return self.journal.unkept

    def commit(self) -> None:
        self.history.commit()

    def note(self, conv: str, text: str, style: str = "note") -> None:
        self.conversations[conv].note(text, style)

    def keep(self, pending: Pending) -> None:
        """A message of ours is about to be sent."""
        self._journal(lambda journal: journal.send(pending))

    def keep_draft(self, conv: str, text: str) -> None:
        self._journal(lambda journal: journal.draft(conv, text))

    def post(self, conv: str, text: str) -> None:
        """Raises Refused when it cannot be sent at all."""
        self.client.post(conv, text)
        self.conversations[conv].bottom = None
        self.conversations[conv].divider = None

    def retry(self, conv: str) -> int:
        """Send again what was refused there; returns how many that are."""
        found = [pending for pending, _ in self.journal.failed.values() if pending.conv == conv]
        for pending in found:
            self.client.post(conv, pending.text)
            self._done(pending.cid)
        return len(found)

    def discard(self, conv: str) -> int:
        """Let go of what was refused there; returns how many that are."""
        found = [pending.cid for pending, _ in self.journal.failed.values() if pending.conv == conv]
        for cid in found:
            self._done(cid)
        return len(found)

    def switch(self, conv: str) -> None:
        self.conversations.switch(conv)
        self._save()  # whom this is with may have been looked up just now

    def read(self) -> bool:
        """The user has seen the end of the current conversation; whether that is news."""
        chat = self.current
        if chat.conv and chat.unread:
            chat.stand.read = chat.stand.last
            chat.has_mention = False
            self.history.save(chat.stand)
            self.client.read(chat.conv, chat.stand.last)
            return True
        return False

    def typing(self, conv: str) -> list[str]:
        """Who is typing there, as it is shown."""
        now = time.monotonic()
        return [name for name, until in self.conversations[conv].typing.values() if until > now]

    def mentions(self, text: str) -> bool:
        name = re.escape(self.directory.me[1])
        # A boundary where there are words: names in Chinese stand in the text without blanks.
        pattern = rf"(?<![A-Za-z0-9_]){name}(?![A-Za-z0-9_])"
        return bool(name) and bool(re.search(pattern, text, re.IGNORECASE))

    def on_event(self, event: Event) -> None:
        is_news = self.directory.note(event)
        match event:
            case Greeted():
                self._epoch = event.epoch
                self._check_epoch()
            case LoggedIn():
                self._save()
                self._start(self._catch_up())
            case Message() if event.seq:
                self._message(event)
            case Message():
                self.note(event.conv, f"{shown_name(event.name)}: {clean_line(event.text)}")
            case Sent():
                self._sent(event)
            case SendFailed() if not isinstance(event.refused, NotLoggedIn):
                self._journal(lambda journal: journal.fail(event.cid, clean_line(event.refused.errmsg)))
            case Receipt():
                stand = self.conversations[event.conv].stand
                stand.seen = max(stand.seen, event.seq)
                self.history.save(stand)
            case Typing():
                until = time.monotonic() + _TYPING_TIME
                self.conversations[event.conv].typing[event.id] = shown_name(event.name), until
        if is_news and not isinstance(event, SendFailed):
            for text in self._wording.tell(event):
                self.note(self._place_of(event), text)

    def fetch(self, chat: Conversation, gap: tuple[int, int]) -> None:
        """Get the end of what is missing there, unless that is under way."""
        if self.client.session.is_ready and not chat.is_fetching:
            chat.is_fetching = True
            self._start(self._fetch(chat, gap))

    async def _fetch(self, chat: Conversation, gap: tuple[int, int]) -> None:
        _after, before = gap
        try:
            fields = await self.client.request(m.FETCH, conv=chat.conv, before=before, limit=_PAGE)
            me = self.directory.me[0]
            page = [parse.message(item, me) for item in parse.objects(fields, "msgs")]
            first = parse.integer(fields, "first", 1)
        except (NotMember, NotFound, Forbidden):
            chat.void.add(gap)
        except (Refused, OSError):
            await asyncio.sleep(_FETCH_PAUSE)  # what is drawn then asks again
        else:
            if not self.history.add(page):
                chat.void.add(gap)
            chat.stand.first = max(chat.stand.first, first)
            self.history.save(chat.stand)
        finally:
            chat.is_fetching = False
            self._on_change()

    async def _catch_up(self) -> None:
        """Where every conversation stands."""
        after: dict[str, str] = {}
        more = True
        try:
            while more:
                fields = await self.client.request(m.SYNC, **after)
                standings = parse.standings(fields)
                for standing in standings:
                    self._stand(standing)
                more = fields.get("more") is True and bool(standings)
                after = {"after": standings[-1].conv} if standings else {}
            await self._name_the_unknown()
        except (Refused, OSError):
            pass  # the next login does it again

    async def _name_the_unknown(self) -> None:
        """People whom we have a conversation with, and know by their ids alone."""
        for conv in self.conversations.listed():
            if conv and not (key := parse_key(conv)).group:
                other = key.other(self.directory.me[0])
                if self.directory.user(other) == str(other):
                    found = await self.client.request(m.LOOKUP, id=other)
                    self.directory.add_user(other, parse.text(found, "name"))
        self._save()
        self._on_change()

    def _stand(self, standing: Standing) -> None:
        stand = self.conversations[standing.conv].stand
        stand.last = max(stand.last, standing.last)
        stand.read = max(stand.read, standing.read)
        stand.first = max(stand.first, standing.first)
        self.history.save(stand)

    def _message(self, message: Message) -> None:
        chat = self.conversations[message.conv]
        is_new = bool(self.history.add([message])) and message.seq > chat.stand.read
        chat.typing.pop(message.sender, None)
        chat.stand.last = max(chat.stand.last, message.seq)
        if message.is_own:
            chat.stand.read = max(chat.stand.read, message.seq)
        elif is_new:
            chat.has_mention = chat.has_mention or self.mentions(message.text)
            self._on_news(chat, message)
        self.history.save(chat.stand)

    def _sent(self, sent: Sent) -> None:
        me, name = self.directory.me
        self._message(Message(sent.conv, sent.seq, me, name, sent.text, sent.ts, sent.cid, is_own=True))
        self._done(sent.cid)

    def _done(self, cid: str) -> None:
        self._journal(lambda journal: journal.done(cid))

    def _place_of(self, event: Event) -> str:
        """The conversation that a note about it belongs to."""
        match event:
            case FriendState():
                return pair_key(self.directory.me[0], event.id)
            case Notice() if event.conv:
                return event.conv
        return HOME

    def _look_for_mentions(self, chat: Conversation) -> None:
        if chat.conv and chat.unread:
            unread = self.history.after(chat.conv, chat.stand.read, _PAGE)
            chat.has_mention = any(self.mentions(message.text) for message in unread if not message.is_own)

    def _check_epoch(self) -> None:
        """With another database the numbers mean other messages. It is kept with each user's history: one may
        have been away when it changed.
        """
        if not self.directory.me[0] or not self._epoch:
            return
        if self.history.fact("epoch") not in ("", self._epoch):
            self.history.forget()
            self.conversations.reset()
            self.note(HOME, _("the server's data was restored from a backup; what is shown is read anew"))
        self.history.set_fact("epoch", self._epoch)

    def _open(self, folder: Path | None) -> None:
        """The user's files; what cannot be opened is in memory alone, and said so."""
        if folder:
            self.history.close()
            self._journal(Journal.close)
        me = self.directory.me
        self.history = History(folder and folder / "history.sqlite", me[0], self._on_problem)
        try:
            self.journal = Journal(folder and folder / "typed.jsonl")
        except BlockingIOError:
            self.journal = Journal(None)
            self._on_problem(
                _("another chatcli is open for {name} on this machine").format(name=shown_name(me[1]))
            )
        except OSError as error:
            self.journal = Journal(None)
            self._on_problem(str(error))
        self._journal(Journal.tidy)
        if self.journal.damaged:
            text = _("some of what was typed earlier cannot be read; it was put into {file}")
            self.note(HOME, text.format(file=self.journal.damaged), "error")
        self.transcript = Transcript(self.history, self.journal, me)

    def _journal(self, change: Callable[[Journal], None]) -> None:
        try:
            change(self.journal)
        except OSError as error:
            self._on_problem(error.strerror or str(error))

    def _on_problem(self, text: str) -> None:
        hint = _("what you type and see now is kept in memory only")
        self.note(self.conversations.current, f"{text}: {hint}", "error")
        self._on_change()

    def _save(self) -> None:
        self.history.set_fact("directory", json.dumps(self.directory.dump()))
        self.history.commit()

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
