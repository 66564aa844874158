"""What happens, as lines for people: one place for every wording of the line mode."""

from __future__ import annotations

from datetime import UTC, datetime

from client.directory import Directory
from client.events import (
    Disconnected,
    Event,
    FriendState,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    Message,
    Notice,
    Problem,
    SendDelayed,
    SendFailed,
    Sent,
)
from client.text import clean, clean_line, rows, shown_name
from forkchat.errors import RateLimited

_NOTICES = {
    "friend_added": "{name} has added you as a friend",
    "group_joined": "{name} has joined {group}",
    "group_left": "{name} has left {group}",
    "group_removed": "{name} was removed from {group}",
}
_LOGGED_OUT = {
    "logout": "logged out",
    "replaced": "you have logged in elsewhere, so this session has ended; /login logs in here again",
    "kicked": "the server has ended this session; /login begins another",
}


class Lines:
    """Events to rows. It remembers what was told, so that nothing is told twice."""

    def __init__(self, directory: Directory):
        self._directory = directory
        self._me = 0
        self._name = ""
        self._is_away = False
        self._untold: set[str] = set()  # cids of which we said that they are not sent yet
        self._problem = ""

    def event(self, event: Event, width: int | None) -> list[str]:
        """The rows that tell of it, for a screen of `width` columns (None: unbounded)."""
        match event:
            case Message() if not event.is_echo:
                return rows(self.message(event), width)
            case Sent():
                return rows(self._sent(event), width)
            case _:
                return [row for text in self._notes(event) for row in rows(f"-- {text}", width)]

    def message(self, message: Message) -> str:
        key = self._directory.title(message.conv, self._me)
        name = shown_name(message.name)
        if message.conv[0] == "g":
            return f"{when(message.ts)} {key} {name}: {clean(message.text)}"
        target = f" → {key}" if message.is_own else ""
        return f"{when(message.ts)} {name}{target}: {clean(message.text)}"

    def unsent(self, cid: str, conv: str, text: str, reason: str) -> list[str]:
        """Said once of a message that waits."""
        if cid in self._untold:
            return []
        self._untold.add(cid)
        return ["not sent yet to " + self._waiting(conv, text, reason)]

    def _waiting(self, conv: str, text: str, reason: str) -> str:
        return f"{self._directory.title(conv, self._me)}: {clean_line(text)} ({clean_line(reason)})"

    def _sent(self, sent: Sent) -> str:
        is_late = sent.cid in self._untold
        self._untold.discard(sent.cid)
        message = Message(sent.conv, sent.seq, self._me, self._name, sent.text, sent.ts, is_own=True)
        return self.message(message) + (" (sent now)" if is_late else "")

    def _notes(self, event: Event) -> list[str]:
        match event:
            case LoggedIn():
                return self._logged_in(event)
            case LoggedOut():
                self._is_away = False
                return [_LOGGED_OUT[event.reason]]
            case LoginFailed() if self._is_away:
                self._is_away = False
                return [f"could not log in again: {clean_line(event.refused.errmsg)}; try /login"]
            case Disconnected(is_wanted=True) if not self._is_away:
                self._is_away = True
                self._problem = ""
                return ["the connection is lost; trying again"]
            case SendDelayed() if not isinstance(event.refused, RateLimited):
                return self.unsent(event.cid, event.conv, event.text, event.refused.errmsg)
            case SendFailed():
                self._untold.discard(event.cid)
                return ["NOT SENT to " + self._waiting(event.conv, event.text, event.refused.errmsg)]
            case FriendState():
                return [f"{shown_name(self._directory.user(event.id))} is {clean_line(event.state)}"]
            case Notice():
                return self._notice(event)
            case Problem() if event.text != self._problem:
                self._problem = event.text
                return [clean_line(event.text)]
        return []

    def _logged_in(self, event: LoggedIn) -> list[str]:
        self._me, self._name = event.id, event.name
        self._is_away = False
        if event.is_resumed:
            return ["connected again"]
        found = [f"logged in as {shown_name(event.name)}, id {event.id}"]
        online = [shown_name(friend.name) for friend in event.friends if friend.state == "online"]
        return [*found, "online: " + ", ".join(online)] if online else found

    def _notice(self, event: Notice) -> list[str]:
        text = _NOTICES.get(event.kind)
        if text is None:
            return []
        group = self._directory.title(event.conv, self._me) if event.conv else ""
        if event.kind == "group_removed" and event.id == self._me:
            return [f"you were removed from {group}"]
        return [text.format(name=shown_name(event.name), group=group)]


def when(ts: int) -> str:
    """The time of a message, milliseconds since 1970, in local time: with the date unless it is today."""
    moment = datetime.fromtimestamp(ts / 1000, UTC).astimezone()
    is_today = moment.date() == datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")
