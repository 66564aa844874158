"""Tests of the `Desk` without a terminal: the server's other database, and which messages are news."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from client.aio.client import Client
from client.commands.directory import Directory
from client.local.history import History
from client.local.journal import Journal
from client.local.settings import Settings
from client.protocol.events import (
    Disconnected,
    Friend,
    FriendState,
    Greeted,
    Group,
    LoggedIn,
    LoggedOut,
    Message,
    Notice,
    Sent,
    Typing,
)
from client.screen.conversations import HOME, Conversation
from client.screen.desk import Desk
from tests.server import soon


class Sitting(Desk):
    """The desk of one run of the client, from its start to its end, on one machine."""

    def __init__(self, folder: Path):
        self.news: list[str] = []
        self.inputs: list[str] | None = None
        self.settings = Settings(folder / "chatcli.toml")
        super().__init__(
            folder,
            Directory(),
            self.settings,
            on_news=self._note_news,
            on_change=lambda: None,
            on_other_epoch=lambda: None,
            on_inputs=self._note_inputs,
            on_stray=lambda _conv, _text: None,
        )
        self.client = Client()

    def _note_news(self, _chat: Conversation, message: Message) -> None:
        self.news.append(message.text)

    def _note_inputs(self, inputs: list[str]) -> None:
        self.inputs = inputs

    @property
    def notes(self) -> str:
        return "\n".join(note.text for note in self.conversations[HOME].notes)

    async def come(self, user: int = 12, name: str = "li") -> None:
        """Restore the user's kept data, and wait until it is read."""
        self.inputs = None
        self.restore(user, name)
        await soon(lambda: self.inputs is not None, "what is kept is read")

    async def texts(self, conv: str = "g1") -> list[str]:
        """Return the texts kept of `conv`, after all pending writes."""
        await soon(lambda: not self.history.unwritten(conv), "everything is written")
        found = await self.history.read(partial(History.before, conv=conv, seq=1 << 60, limit=100))
        return [message.text for message in found]


@asynccontextmanager
async def sitting(folder: Path) -> AsyncIterator[Sitting]:
    desk = Sitting(folder)
    try:
        yield desk
    finally:
        desk.close()


def message(seq: int, text: str) -> Message:
    return Message("g1", seq, 57, "bo", text, 1_700_000_000_000 + seq)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Data folder of li, who has read three messages here when the database was `a`."""

    async def sit() -> None:
        async with sitting(tmp_path) as desk:
            desk.on_event(Greeted("a"))
            await desk.come()
            for seq in (1, 2, 3):
                desk.on_event(message(seq, f"old {seq}"))
            desk.conversations["g1"].stand.read = 3
            desk.history.save(desk.conversations["g1"].stand)

    asyncio.run(sit())
    return tmp_path


class TestEpoch:
    def test_the_same(self, earlier: Path) -> None:
        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.on_event(Greeted("a"))
                assert await desk.texts() == ["old 1", "old 2", "old 3"]
                assert desk.conversations["g1"].stand.read == 3
                assert "restored from a backup" not in desk.notes

        asyncio.run(sit())

    @pytest.mark.parametrize("when", ["before", "while", "after"])
    def test_another(self, earlier: Path, when: str) -> None:
        """Kept messages are forgotten when the epoch changes, because their numbers mean other messages now.

        The server may announce the new epoch before, while or after the kept data is read.
        """

        async def sit() -> None:
            async with sitting(earlier) as desk:
                if when == "before":
                    desk.on_event(Greeted("b"))
                elif when == "while":
                    desk.restore(12, "li")
                    desk.on_event(Greeted("b"))
                await desk.come() if when != "while" else await soon(lambda: desk.inputs is not None, "read")
                if when == "after":
                    assert await desk.texts() == ["old 1", "old 2", "old 3"]
                    desk.on_event(Greeted("b"))
                assert "restored from a backup" in desk.notes
                desk.on_event(message(2, "new 2"))
                assert await desk.texts() == ["new 2"]
                assert desk.conversations["g1"].unread == 2
            async with sitting(earlier) as again:
                again.on_event(Greeted("b"))
                await again.come()
                assert await again.texts() == ["new 2"]
                assert "restored from a backup" not in again.notes

        asyncio.run(sit())

    def test_what_chatcli_was_killed_before_forgetting(self, earlier: Path) -> None:
        """The old history is forgotten although chatcli was killed before it did so.

        The journal has the new epoch at once, and the history follows a moment later.
        """
        journal = Journal(earlier / "@li" / "typed.jsonl")
        journal.begin("b")
        journal.close()

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                assert await desk.texts() == []
                assert desk.conversations["g1"].stand.last == 0
                assert "restored from a backup" in desk.notes

        asyncio.run(sit())

    def test_the_journal_is_lost(self, earlier: Path) -> None:
        (earlier / "@li" / "typed.jsonl").unlink()

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                assert await desk.texts() == ["old 1", "old 2", "old 3"]
                desk.keep_draft("g1", "begun")
                desk.on_event(Greeted("b"))
                assert await desk.texts() == []
                assert "restored from a backup" in desk.notes
                assert list(desk.journal.strays.values()) == ["begun"]

        asyncio.run(sit())

    def test_each_user_has_their_own(self, earlier: Path) -> None:
        """Each user's old messages are forgotten, also if the epoch changes while another user is here."""

        async def sit() -> None:
            async with sitting(earlier) as desk:
                desk.on_event(Greeted("a"))
                await desk.come(13, "yu")
                desk.on_event(message(1, "to yu"))
                desk.on_event(Greeted("b"))
                assert await desk.texts() == []
                await desk.come()
                assert await desk.texts() == []
                assert desk.notes.count("restored from a backup") == 2

        asyncio.run(sit())

    def test_while_it_runs(self, earlier: Path) -> None:
        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.on_event(Greeted("a"))
                desk.switch("g2")
                desk.switch("g1")
                desk.current.bottom = (2, 0), 0
                desk.on_event(Greeted("b"))
                assert desk.conversations.back() == HOME  # the previous key is another conversation's now
                assert (desk.current.conv, desk.current.bottom, desk.current.stand.last) == ("g1", None, 0)

        asyncio.run(sit())


def test_news_in_the_backlog(earlier: Path) -> None:
    """A message of the backlog is news once.

    The server may have announced the conversation's last number before.
    """

    async def sit() -> None:
        async with sitting(earlier) as desk:
            await desk.come()
            chat = desk.conversations["g1"]
            chat.stand.last = 5
            desk.on_event(message(4, "li: look"))
            assert (chat.has_mention, chat.unread, desk.news) == (True, 2, ["li: look"])
            desk.on_event(message(4, "li: look"))
            assert desk.news == ["li: look"]

    asyncio.run(sit())


class TestIgnored:
    def test_they_count_nowhere(self, earlier: Path) -> None:
        """Messages of ignored users do not count for the list, the bell or Alt+a.

        Others' messages count, before and after them.
        """

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                chat = desk.conversations["g1"]
                desk.directory.groups[1] = Group(1, "ops", "")
                desk.quiet.ignore("bo", 0)
                desk.on_event(message(4, "li: look"))
                assert (chat.unread, chat.has_mention, desk.news) == (0, False, [])
                assert desk.conversations.next_unread() is None
                desk.on_event(replace(message(5, "hello"), sender=58, name="mei"))
                desk.on_event(message(6, "li: look!"))
                assert (chat.unread, chat.has_mention, desk.news) == (1, False, ["hello"])
                assert desk.conversations.next_unread() == "g1"
            async with sitting(earlier) as again:
                await again.come()
                again.directory.groups[1] = Group(1, "ops", "")
                chat = again.conversations["g1"]
                assert (chat.unread, chat.has_mention) == (1, False)
                again.quiet.unignore("bo")
                again.weigh_all()
                again.on_event(message(7, "meanwhile"))
                await soon(lambda: (chat.unread, chat.has_mention) == (4, True), "they count again")

        asyncio.run(sit())

    def test_they_are_not_drawn(self, earlier: Path) -> None:
        """Messages of ignored users are not drawn, however many there are in a row.

        The messages above them can be scrolled to, and none is missing.
        """

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                spam = [message(seq, f"spam {seq}") for seq in range(4, 3004)]
                said = [replace(message(seq, f"said {seq}"), sender=58, name="mei") for seq in (2, 3, 3004)]
                desk.conversations.reset()
                desk.history.forget()
                desk.history.add([*spam, *said])
                chat = desk.conversations["g1"]
                chat.stand.first, chat.stand.last = 2, 3004
                await soon(lambda: not desk.history.unwritten("g1"), "everything is written")
                desk.quiet.ignore("bo", 0)

                def drawn() -> tuple[list[str], bool]:
                    rows, gaps = desk.transcript.draw(chat, 80, 20)
                    texts = ["".join(text for _, text in row).split("│ ")[-1] for row in rows]
                    return [text for text in texts if "──" not in text], bool(gaps)

                seen = ["said 2", "said 3", "said 3004"]
                await soon(lambda: drawn() == (seen, False), "what is seen is drawn")
                for seq in (3005, 3006):
                    desk.on_event(message(seq, f"spam {seq}"))
                    assert drawn() == (seen, False)
                desk.quiet.unignore("bo")
                assert drawn()[0][-2:] == ["spam 3005", "spam 3006"]

        asyncio.run(sit())

    def test_nothing_is_said_of_their_coming_and_going(self, tmp_path: Path) -> None:
        async def sit() -> None:
            async with sitting(tmp_path) as desk:
                await desk.come()
                desk.directory.note(LoggedIn(12, "li", [Friend(57, "bo", "offline")], [], False))
                desk.quiet.ignore("bo", 0)
                desk.on_event(FriendState(57, "", "online"))
                desk.on_event(Typing("d12-57", 57, "bo"))
                desk.on_event(Notice("friend_added", 57, "bo", ""))
                desk.on_event(Message("d12-57", 0, 57, "bo", "gone at once", 0))
                assert not desk.conversations["d12-57"].notes
                assert not desk.typing("d12-57")
                assert "bo" not in desk.notes

        asyncio.run(sit())


class TestNotes:
    def test_they_do_not_stay_among_the_messages(self, earlier: Path) -> None:
        """Notes go when the user leaves the conversation, and when they are far above.

        The words of other users stay.
        """

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.switch("g1")
                chat = desk.conversations["g1"]
                desk.note("g1", "an answer")
                desk.note("g1", "a miss", "error")
                desk.on_event(Notice("group_joined", 58, "mei", "g1"))
                desk.on_event(Message("g1", 0, 58, "mei", "kept nowhere", 0))
                assert [note.kind for note in chat.notes] == ["note", "error", "membership", "said"]
                for seq in range(4, 54):
                    desk.on_event(message(seq, "more"))
                assert len(chat.notes) == 4
                desk.on_event(message(54, "and more"))
                assert [note.text for note in chat.notes] == ["mei: kept nowhere"]
                desk.note("g1", "another answer")
                desk.note(HOME, "at home")
                desk.switch(HOME)
                assert [note.text for note in chat.notes] == ["mei: kept nowhere"]
                desk.switch("g1")
                assert "at home" in desk.notes

        asyncio.run(sit())

    def test_of_presence_the_latest_is_enough(self, earlier: Path) -> None:
        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.directory.note(LoggedIn(12, "li", [Friend(57, "bo", "offline")], [], False))
                for state in ("online", "offline", "online"):
                    desk.on_event(FriendState(57, "bo", state))
                assert [note.text for note in desk.conversations["d12-57"].notes] == ["bo is online"]

        asyncio.run(sit())

    def test_they_are_switched_off(self, earlier: Path) -> None:
        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.directory.note(LoggedIn(12, "li", [Friend(57, "bo", "offline")], [], False))
                desk.settings.set("presence", "off")
                desk.settings.set("membership", "off")
                desk.conversations["d12-57"].bottom = (1, 0), 0
                desk.on_event(FriendState(57, "bo", "online"))
                desk.on_event(Notice("group_joined", 58, "mei", "g1"))
                assert not desk.conversations["d12-57"].notes
                assert not desk.conversations["d12-57"].missed
                assert not desk.conversations["g1"].notes
                assert desk.directory.friends[57].state == "online"

        asyncio.run(sit())


class TestQuiet:
    def test_muted(self, earlier: Path) -> None:
        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.directory.groups[1] = Group(1, "ops", "")
                desk.quiet.mute("g1", 0)
                desk.on_event(message(4, "li: look"))
                chat = desk.conversations["g1"]
                assert (chat.unread, desk.news, desk.conversations.next_unread()) == (1, [], None)
                assert desk.conversations.unread_elsewhere() == 0
                desk.quiet.unmute("g1")
                assert desk.conversations.next_unread() == "g1"

        asyncio.run(sit())

    def test_closed_until_there_is_news(self, earlier: Path) -> None:
        """A closed conversation stays closed until there is news, also over a restart.

        Messages of ignored users are no news. Switching to the conversation opens it again.
        """

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.directory.groups[1] = Group(1, "ops", "")
                desk.put_away("g1")
                desk.quiet.ignore("bo", 0)
                desk.on_event(message(4, "from bo"))
                assert desk.conversations.listed() == [HOME]
            async with sitting(earlier) as again:
                await again.come()
                again.directory.groups[1] = Group(1, "ops", "")
                assert again.conversations.listed() == [HOME]
                again.on_event(replace(message(5, "from mei"), sender=58, name="mei"))
                assert again.conversations.listed() == [HOME, "g1"]
                again.put_away("g1")
                assert again.conversations.listed() == [HOME]
                again.switch("g1")
                again.switch(HOME)
                assert again.conversations.listed() == [HOME, "g1"]

        asyncio.run(sit())

    def test_another_database(self, earlier: Path) -> None:
        """Mutes and closed conversations are forgotten, because their keys mean other conversations there.

        Ignored users stay, because names mean the same people.
        """

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.quiet.ignore("bo", 0)
                desk.quiet.mute("g1", 0)
                desk.put_away("g1")
                desk.on_event(Greeted("b"))
                assert (desk.quiet.is_ignored("bo"), desk.quiet.is_muted("g1"), desk.quiet.closed) == (
                    True,
                    False,
                    {},
                )

        asyncio.run(sit())


class TestOnesOwn:
    """The user's own messages, sent here or elsewhere. They do not mark others' earlier messages as read."""

    class Recording(Client):
        def __init__(self) -> None:
            super().__init__()
            self.told: list[tuple[str, int]] = []

        def read(self, conv: str, seq: int) -> None:
            self.told.append((conv, seq))

    @pytest.mark.parametrize("is_here", [True, False], ids=["here", "elsewhere"])
    def test_what_was_not_seen_stays_unread(self, earlier: Path, is_here: bool) -> None:
        """Others' messages stay unread until they are seen, also in a later run."""

        def own(seq: int) -> Sent | Message:
            if is_here:
                return Sent("cid", "g1", seq, "mine", 1_700_000_000_005)
            return replace(message(seq, "mine"), sender=12, name="li", is_own=True)

        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.client = client = self.Recording()
                chat = desk.conversations["g1"]
                desk.on_event(own(4))
                assert (chat.unread, chat.stand.read) == (0, 4)
                chat.stand.last = 8  # as the server has announced
                desk.on_event(own(5))
                assert chat.stand.read == 5
                for seq in (6, 7):
                    desk.on_event(message(seq, "from bo"))
                desk.on_event(own(8))
                desk.on_event(own(9))
                assert (chat.unread, chat.stand.read, client.told) == (2, 5, [])
            async with sitting(earlier) as again:
                await again.come()
                again.client = client = self.Recording()
                chat = again.conversations["g1"]
                assert chat.unread == 2
                again.switch("g1")
                assert chat.divider == 5
                assert again.read()
                assert client.told == [("g1", 9)]
                again.on_event(own(10))
                assert (chat.unread, again.read()) == (0, False)

        asyncio.run(sit())

    def test_what_ignored_people_wrote_is_passed_over(self, earlier: Path) -> None:
        async def sit() -> None:
            async with sitting(earlier) as desk:
                await desk.come()
                desk.quiet.ignore("bo", 0)
                desk.on_event(message(4, "spam"))
                desk.on_event(Sent("cid", "g1", 5, "mine", 1_700_000_000_005))
                assert desk.conversations["g1"].stand.read == 5

        asyncio.run(sit())


def test_no_news_of_what_was_read_elsewhere(earlier: Path) -> None:
    async def sit() -> None:
        async with sitting(earlier) as desk:
            await desk.come()
            chat = desk.conversations["g1"]
            chat.stand.last = chat.stand.read = 5
            desk.on_event(message(4, "li: look"))
            assert (chat.has_mention, desk.news) == (False, [])

    asyncio.run(sit())


@pytest.mark.parametrize(
    "event", [Disconnected(True), LoggedOut("logout")], ids=["disconnected", "logged out"]
)
def test_nobody_is_known_to_be_online_any_more(event: Disconnected | LoggedOut) -> None:
    directory = Directory()
    directory.note(LoggedIn(12, "li", [Friend(57, "bo", "online")], [], False))
    directory.note(event)
    assert directory.friends == {57: Friend(57, "bo", "")}
