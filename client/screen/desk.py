"""The conversations of one user, kept on this machine and updated by the server.

This module uses no terminal. Events and the user's actions come in, conversations change, and notices go out.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from client.aio.client import Client
from client.commands.directory import Directory
from client.commands.wording import Wording
from client.i18n import _
from client.local.journal import Journal, Line
from client.local.lane import HistoryLane
from client.local.quiet import Quiet
from client.local.servers import is_open
from client.local.settings import SETTINGS, Settings
from client.protocol.events import (
    Event,
    FriendState,
    Greeted,
    LoggedIn,
    LoginFailed,
    Message,
    Notice,
    Readdressed,
    Receipt,
    SendFailed,
    Sent,
    Typing,
)
from client.protocol.outbox import Pending
from client.screen.conversations import HOME, Conversation, Conversations
from client.screen.fetching import Fetching
from client.screen.kept import Kept, kept_of
from client.screen.transcript import Transcript
from client.screen.undelivered import Undelivered
from client.screen.weight import Scale, mentions
from client.screen.window import Window
from client.text import clean_line, shown_name
from forkchat.errors import NotLoggedIn
from forkchat.wire.conversation import pair_key

#: Characters that some file systems forbid in a folder's name, and `%`, which escapes them.
_UNSAFE = re.compile(r'[/\\:*?"<>|%\x00-\x1f\x7f]')
#: Seconds for which a user counts as typing after the server's latest notice of it.
_TYPING_TIME = 6.0
#: Seconds that writing the rest of a history may take at exit.
#: Seconds that it may take after another user has come.
_LEAVE, _LINGER = 1.0, 60.0


class Desk:
    """The conversations and files of the current user. Its callbacks:

    - `on_news(conversation, message)`: another user's message has come, is new, and is neither ignored nor
      muted.
    - `on_change()`: the screen has something else to show.
    - `on_other_epoch()`: the server has another database. The names of all users are still known then.
    - `on_inputs(lines)`: the lines that were typed here earlier, the oldest first.
    - `on_stray(conv, text)`: the conversation of a draft from an earlier epoch was found.
    """

    def __init__(
        self,
        folder: Path,
        directory: Directory,
        settings: Settings,
        on_news: Callable[[Conversation, Message], None],
        on_change: Callable[[], None],
        on_other_epoch: Callable[[], None],
        on_inputs: Callable[[list[str]], None],
        on_stray: Callable[[str, str], None],
    ):
        self.directory = directory
        self.conversations = Conversations(directory)
        self.client: Client
        self.history: HistoryLane
        self.window: Window
        self.journal: Journal
        self.quiet: Quiet
        self._folder = folder
        self._on_news = on_news
        self.on_change = on_change
        self._on_other_epoch = on_other_epoch
        self._settings = settings
        self._on_inputs = on_inputs
        self.on_stray = on_stray
        self._wording = Wording(directory)
        self.left_over: dict[str, Line] = {}  # by key: of an earlier run, neither done nor begun in this one
        self._epoch = ""  # of the server's database, as in the latest greeting
        self._is_read = False  # the kept history was loaded, or is void
        self.fetching = Fetching(self)
        self.undelivered = Undelivered(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open(None)

    @property
    def current(self) -> Conversation:
        return self.conversations[self.conversations.current]

    def restore(self, user: int, name: str) -> None:
        """Show this user's conversations as they were left. Unsent messages go out after the login."""
        if self.directory.me != (user, name):
            self._bring(user, name)
        self.client.session.restore(user, name, self.journal.unsent.values(), self.journal.epoch)

    def _bring(self, user: int, name: str) -> None:
        self.directory.me = user, name
        self.conversations.clear()
        self.directory.clear()
        self._is_read = False
        self._open(self._folder_of(name))
        self._check_epoch()
        self.start(self._read(self.history))

    async def _read(self, history: HistoryLane) -> None:
        """Load what is kept of this user as soon as it can be read. The user may be typing already."""
        scale = Scale(self.directory.me[1], self.quiet)
        kept = await history.read(partial(kept_of, scale=scale))
        if history is not self.history:
            return  # another user has come meanwhile
        if kept.damaged:
            text = _("the messages kept here cannot be read; they are put into {file}, and fetched anew")
            self.note(HOME, text.format(file=kept.damaged), "error")
        if not self._is_read:
            self._is_read = True
            self._take(kept, scale)
        self.save()
        self._on_inputs(kept.inputs[::-1])
        self.on_change()

    def _take(self, kept: Kept, scale: Scale) -> None:
        """Merge the kept history. Data that is here already is newer, because the server has just sent it."""
        if not self.journal.epoch and kept.epoch:
            self.change_journal(lambda journal: journal.begin(kept.epoch))
        if kept.epoch not in ("", self.journal.epoch):  # chatcli was killed before it forgot this
            self._forget()
            for chat in self.conversations:
                self.history.save(chat.stand)
            return
        self.directory.load(kept.directory)
        for stand in self.conversations.load(kept.stands):
            self.history.save(stand)
        for stand, weight in zip(kept.stands, kept.weights, strict=True):
            scale.settle(self.conversations[stand.conv], weight, self.history)

    def is_open_elsewhere(self, name: str) -> bool:
        """Return whether another chatcli on this machine has this user's files open."""
        return is_open(self._folder_of(name))

    def _folder_of(self, name: str) -> Path:
        """Return the folder of a user's files, by name, because an id is another user's in another epoch."""
        return self._folder / ("@" + _UNSAFE.sub(lambda unsafe: f"%{ord(unsafe[0]):02X}", name))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.change_journal(Journal.close)
        self.save()
        self.history.close(_LEAVE)
        self.history.join()

    def unkept(self) -> int:
        """Count the messages and drafts that an exit would lose now, after another try to write them."""
        if self.journal.unkept:
            self.change_journal(Journal.tidy)
        return self.journal.unkept

    def note(self, conv: str, text: str, kind: str = "note") -> None:
        """Add a note. `kind`: see `Note`. A kind that has a setting can be switched off."""
        if kind not in SETTINGS or self._settings.is_on(kind):
            self.conversations[conv].note(text, kind)

    def keep(self, pending: Pending) -> None:
        """Record a message of our own before it is sent, and scroll its conversation to the end."""
        self.conversations[pending.conv].bottom = None
        self.conversations[pending.conv].divider = None
        self.change_journal(lambda journal: journal.send(pending))

    def keep_draft(self, conv: str, text: str) -> None:
        """Keep a draft. It survives this process at once, and a power failure after `Journal.sync`."""
        name = self.directory.known(conv) if conv else ""
        self.change_journal(lambda journal: journal.draft(conv, text, name))

    def enter(self, text: str) -> str:
        """Record a line before it is acted on; return the key that `over` takes."""
        key, line = secrets.token_hex(16), Line(text, self.conversations.current, self.journal.epoch)
        self.change_journal(lambda journal: journal.enter(key, line))
        return key

    def over(self, key: str) -> None:
        self.change_journal(lambda journal: journal.over(key))

    def switch(self, conv: str) -> None:
        self.conversations.switch(conv)
        self._quieten(lambda quiet: quiet.reopen(conv))
        self.save()  # the other user may have been looked up just now

    def put_away(self, conv: str) -> None:
        """Take a conversation off the list until there is news. Raises OSError if that cannot be kept."""
        self.quiet.close(conv, self.conversations[conv].stand.last)

    def weigh_all(self) -> None:
        """Count the unread messages of all conversations again, because the ignored users have changed."""
        scale = Scale(self.directory.me[1], self.quiet)
        self.start(scale.weigh_all(self.history, [*self.conversations], self.on_change))

    def read(self) -> bool:
        """Mark the current conversation as read to its end; return False if it was already."""
        chat = self.current
        if chat.conv and chat.stand.last > chat.stand.read:
            chat.stand.read = chat.stand.last
            chat.ignored.clear()
            chat.has_mention = False
            self.history.save(chat.stand)
            self.client.read(chat.conv, chat.stand.last)
            return True
        return False

    def typing(self, conv: str) -> list[str]:
        """Return the names of the users who are typing in a conversation, as they are shown."""
        now = time.monotonic()
        return [name for name, until in self.conversations[conv].typing.values() if until > now]

    def mentions(self, text: str) -> bool:
        return mentions(self.directory.me[1], text)

    def on_event(self, event: Event) -> None:
        is_news = self.directory.note(event)
        match event:
            case Greeted():
                self._epoch = event.epoch
                self._check_epoch()
            case LoggedIn():
                self.save()
                self.start(self.fetching.catch_up())
                self.start(self.undelivered.find_strays())
            case Message() if event.seq:
                self._message(event)
            case Message() if not self._is_of_ignored(event):
                self.note(event.conv, f"{shown_name(event.name)}: {clean_line(event.text)}", "said")
            case Sent():
                self._sent(event)
            case Readdressed() if event.cid in self.journal.unsent:
                pending = replace(self.journal.unsent[event.cid], conv=event.conv, epoch=self._epoch)
                self.change_journal(lambda journal: journal.send(pending))
            case SendFailed() if not isinstance(event.refused, NotLoggedIn):
                self.change_journal(lambda journal: journal.fail(event.cid, clean_line(event.refused.errmsg)))
            case Receipt():
                stand = self.conversations[event.conv].stand
                stand.seen = max(stand.seen, event.seq)
                self.history.save(stand)
            case Typing() if not self.quiet.is_ignored(event.name):
                until = time.monotonic() + _TYPING_TIME
                self.conversations[event.conv].typing[event.id] = shown_name(event.name), until
        if is_news and not isinstance(event, SendFailed | LoginFailed) and not self._is_of_ignored(event):
            conv, kind = self._place_of(event)
            for text in self._wording.tell(event):
                self.note(conv, text, kind)

    def _message(self, message: Message) -> None:
        chat = self.conversations[message.conv]
        is_new = message.seq > max(chat.stand.read, chat.came)
        self.keep_messages([message])
        chat.typing.pop(message.sender, None)
        chat.stand.last = max(chat.stand.last, message.seq)
        if message.is_own:
            self._wrote(chat, message.seq)
        elif self.quiet.is_ignored(message.name):
            chat.ignored |= {message.seq} if message.seq > chat.stand.read else set()
        elif is_new:
            chat.came = message.seq
            chat.has_mention = chat.has_mention or self.mentions(message.text)
            if not self.quiet.is_muted(message.conv):
                self._on_news(chat, message)
        self.history.save(chat.stand)
        chat.grown()

    def _wrote(self, chat: Conversation, seq: int) -> None:
        """Leave a message of the user's own out of the unread ones.

        It counts as read only if nothing before it is unread. The user may have written it elsewhere, or
        yesterday, without seeing the messages before it.
        """
        stand = chat.stand
        read = max(stand.read, stand.first - 1)
        chat.ignored.add(seq)
        if seq - read == sum(read < each <= seq for each in chat.ignored):
            stand.read = seq
        chat.ignored = {each for each in chat.ignored if each > stand.read}

    def _sent(self, sent: Sent) -> None:
        me, name = self.directory.me
        self._message(Message(sent.conv, sent.seq, me, name, sent.text, sent.ts, sent.cid, is_own=True))
        self.done(sent.cid)

    def done(self, cid: str) -> None:
        self.change_journal(lambda journal: journal.done(cid))

    def _place_of(self, event: Event) -> tuple[str, str]:
        """Return the conversation of a note about the event, and the kind of the note."""
        match event:
            case FriendState():
                return pair_key(self.directory.me[0], event.id), "presence"
            case Notice() if event.conv:
                return event.conv, "membership"
        return HOME, "note"

    def _is_of_ignored(self, event: Event) -> bool:
        """Return whether the event tells of an ignored user."""
        match event:
            case FriendState() | Notice():
                return self.quiet.is_ignored(event.name or self.directory.user(event.id))
            case Message():
                return self.quiet.is_ignored(event.name)
        return False

    def keep_messages(self, messages: list[Message]) -> None:
        self.history.add(messages)
        self.window.add(messages)

    def _check_epoch(self) -> None:
        """Forget what is kept if the server has another database, where the numbers mean other messages.

        Each user's journal has its own epoch, because the user may have been away when the database changed.
        """
        if not self.directory.me[0] or not self._epoch:
            return
        if is_other := self.journal.epoch not in ("", self._epoch):
            self._on_other_epoch()
        self.change_journal(lambda journal: journal.begin(self._epoch))
        if is_other:
            self.conversations.reset()
            self.directory.forget()
            self._is_read = True
            self._forget()
        self.save()

    def _forget(self) -> None:
        """Forget what is kept, because it belongs to another database."""
        self.history.forget()
        self.window.clear()
        self.save()
        self._quieten(Quiet.forget_conversations)
        self.note(HOME, _("the server's data was restored from a backup; what is shown is read anew"))

    def _open(self, folder: Path | None) -> None:
        """Open the user's files. What cannot be opened is kept in memory only, and the user is told.

        Unfinished lines of this run move to the new journal, as lines of the home page.
        """
        entered: dict[str, Line] = {}
        if folder:
            for key, line in self.journal.entered.items():
                if key not in self.left_over:
                    entered[key] = line._replace(conv=HOME, epoch=line.epoch or self._epoch)
            for key in entered:
                self.over(key)
            self.history.close(_LINGER)
            self.change_journal(Journal.close)
        me = self.directory.me
        self.history = HistoryLane(folder and folder / "history.sqlite", me[0], self._on_problem)
        self.quiet = Quiet(folder and folder / "quiet.json")
        if self.quiet.damaged:
            text = _("whom you ignore and what is muted cannot be read; it was put into {file}")
            self.note(HOME, text.format(file=self.quiet.damaged), "error")
        self.conversations.quiet = self.quiet
        self.window = Window(self.history, self.quiet, self.start, self.on_change)
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
        self.change_journal(Journal.tidy)
        self.left_over = dict(self.journal.entered)
        for key, line in entered.items():
            self.change_journal(lambda journal, key=key, line=line: journal.enter(key, line))  # type: ignore[misc]
        if self.journal.damaged:
            text = _("some of what was typed earlier cannot be read; it was put into {file}")
            self.note(HOME, text.format(file=self.journal.damaged), "error")
        self.transcript = Transcript(self.window, self.journal, me, self.quiet)

    def change_journal(self, change: Callable[[Journal], None]) -> None:
        was_behind = self.journal.is_behind
        try:
            change(self.journal)
        except OSError as error:
            if not was_behind:
                self._on_problem(error.strerror or str(error))

    def _quieten(self, change: Callable[[Quiet], None]) -> None:
        try:
            change(self.quiet)
        except OSError as error:
            self._on_problem(error.strerror or str(error))

    def _on_problem(self, text: str) -> None:
        hint = _("what you type and see now is kept in memory only")
        self.note(self.conversations.current, f"{text}: {hint}", "error")
        self.on_change()

    def save(self) -> None:
        if self._is_read:  # else it would overwrite what is kept and not loaded yet
            self.history.set_fact("directory", json.dumps(self.directory.dump()))
            self.history.set_fact("epoch", self.journal.epoch)

    def start(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
