"""What the screen has before it, without a terminal: the server's other database, what is news."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.aio.client import Client
from client.commands.directory import Directory
from client.protocol.events import Disconnected, Friend, Greeted, LoggedIn, LoggedOut, Message
from client.screen.conversations import HOME, Conversation
from client.screen.desk import Desk


class Sitting(Desk):
    """From one start of the client to its end, on one machine."""

    def __init__(self, folder: Path):
        self.news: list[str] = []
        super().__init__(folder, Directory(), self._note_news, lambda: None)
        self.client = Client()

    def _note_news(self, _chat: Conversation, message: Message) -> None:
        self.news.append(message.text)

    @property
    def notes(self) -> str:
        return "\n".join(note.text for note in self.conversations[HOME].notes)

    def texts(self, conv: str = "g1") -> list[str]:
        return [message.text for message in self.history.before(conv, 1 << 60, 100)]


def message(seq: int, text: str) -> Message:
    return Message("g1", seq, 57, "bo", text, 1_700_000_000_000 + seq)


@pytest.fixture
def earlier(tmp_path: Path) -> Iterator[Path]:
    """The machine of li, who has read three messages here when the database was the one called a."""
    desk = Sitting(tmp_path)
    desk.on_event(Greeted("a"))
    desk.restore(12, "li")
    for seq in (1, 2, 3):
        desk.on_event(message(seq, f"old {seq}"))
    desk.conversations["g1"].stand.read = 3
    desk.history.save(desk.conversations["g1"].stand)
    desk.close()
    yield tmp_path


class TestEpoch:
    def test_the_same(self, earlier: Path) -> None:
        desk = Sitting(earlier)
        desk.restore(12, "li")
        desk.on_event(Greeted("a"))
        assert desk.texts() == ["old 1", "old 2", "old 3"]
        assert "restored from a backup" not in desk.notes
        desk.close()

    @pytest.mark.parametrize("is_greeted_first", [False, True], ids=["known", "nobody is known yet"])
    def test_another(self, earlier: Path, is_greeted_first: bool) -> None:
        """A number that was here means another message now."""
        desk = Sitting(earlier)
        if is_greeted_first:
            desk.on_event(Greeted("b"))
            desk.restore(12, "li")
        else:
            desk.restore(12, "li")
            assert desk.texts() == ["old 1", "old 2", "old 3"]
            desk.on_event(Greeted("b"))
        assert "restored from a backup" in desk.notes
        desk.on_event(message(2, "new 2"))
        assert desk.texts() == ["new 2"]
        assert desk.conversations["g1"].unread == 2
        desk.close()
        again = Sitting(earlier)
        again.on_event(Greeted("b"))
        again.restore(12, "li")
        assert again.texts() == ["new 2"]
        assert "restored from a backup" not in again.notes
        again.close()

    def test_each_user_has_their_own(self, earlier: Path) -> None:
        """It changes while someone else is here."""
        desk = Sitting(earlier)
        desk.on_event(Greeted("a"))
        desk.restore(13, "yu")
        desk.on_event(message(1, "to yu"))
        desk.on_event(Greeted("b"))
        assert desk.texts() == []
        desk.restore(12, "li")
        assert desk.texts() == []
        assert desk.notes.count("restored from a backup") == 2
        desk.close()

    def test_while_it_runs(self, earlier: Path) -> None:
        desk = Sitting(earlier)
        desk.restore(12, "li")
        desk.on_event(Greeted("a"))
        desk.switch("g1")
        desk.current.bottom = (2, 0), 0
        desk.on_event(Greeted("b"))
        assert (desk.current.conv, desk.current.bottom, desk.current.stand.last) == ("g1", None, 0)
        desk.close()


def test_news_in_the_backlog(earlier: Path) -> None:
    """Also when the server has said how far the conversation goes before it sends what was said."""
    desk = Sitting(earlier)
    desk.restore(12, "li")
    chat = desk.conversations["g1"]
    chat.stand.last = 5
    desk.on_event(message(4, "li: look"))
    assert (chat.has_mention, chat.unread, desk.news) == (True, 2, ["li: look"])
    desk.on_event(message(4, "li: look"))
    assert desk.news == ["li: look"]
    desk.close()


def test_no_news_of_what_was_read_elsewhere(earlier: Path) -> None:
    desk = Sitting(earlier)
    desk.restore(12, "li")
    chat = desk.conversations["g1"]
    chat.stand.last = chat.stand.read = 5
    desk.on_event(message(4, "li: look"))
    assert (chat.has_mention, desk.news) == (False, [])
    desk.close()


@pytest.mark.parametrize(
    "event", [Disconnected(True), LoggedOut("logout")], ids=["disconnected", "logged out"]
)
def test_nobody_is_known_to_be_online_any_more(event: Disconnected | LoggedOut) -> None:
    directory = Directory()
    directory.note(LoggedIn(12, "li", [Friend(57, "bo", "online")], [], False))
    directory.note(event)
    assert directory.friends == {57: Friend(57, "bo", "")}
