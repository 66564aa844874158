"""Sentences that describe events and errors to users, for the screen and for scripts."""

from __future__ import annotations

import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from client.aio.race import Unreachable
from client.aio.server import Server
from client.commands.directory import Directory
from client.i18n import N_, _
from client.protocol.events import (
    Disconnected,
    Event,
    FriendState,
    LoggedIn,
    LoggedOut,
    LoginFailed,
    Notice,
    Problem,
    SendFailed,
    Stranded,
)
from client.text import clean_line, shown_name
from forkchat.errors import Refused

_NOTICES = {
    "friend_added": N_("{name} has added you as a friend"),
    "group_joined": N_("{name} has joined {group}"),
    "group_left": N_("{name} has left {group}"),
    "group_removed": N_("{name} was removed from {group}"),
}
_LOGGED_OUT = {
    "logout": N_("logged out"),
    "replaced": N_("you have logged in elsewhere, so this session has ended; /takeover comes back here"),
    "kicked": N_("the server has ended this session; /login begins another"),
}
#: Other words and sentences from the server, and from the connection to it, that are translated.
_FROM_THE_SERVER = [
    *(N_("online"), N_("offline"), N_("creator"), N_("normal")),
    N_("this account is already online"),
    N_("this account is logging in elsewhere"),
    N_("this is yourself"),
    N_("the old password is wrong"),
    N_("wrong name or password"),
    N_("no such user"),
    N_("you are not in this conversation"),
    N_("you are not in this group"),
    N_("no such group"),
    N_("not a member of this group"),
    N_("not among your friends"),
    N_("not removed from this group"),
    N_("only the group's creator removes members and lets them in again"),
    N_("you were removed from this group; its creator can let you in again"),
    N_("the creator cannot be removed; leave instead"),
    N_("the name is taken"),
    N_("the name looks like that of another account"),
    N_("the password must have at least 8 characters"),
    N_("the password is too common or too easy to guess; choose another one"),
    N_("too many messages"),
    N_("too many messages wait to be stored"),
    N_("too many tries; wait a little"),
    N_("log in with the password"),
    N_("too many logins at once"),
    N_("log in first"),
    N_("there is no connection"),
    N_("the connection was lost before the answer came"),
    N_("the server has another database now, in which ids belong to other people"),
    N_("what answers there is no forkchat server"),
    N_("the server has closed the connection at once"),
    N_("no answer"),
]


class Wording:
    """Sentences for events. An instance remembers what it told, so that it tells nothing twice."""

    def __init__(self, directory: Directory):
        self._directory = directory
        self._is_away = False
        self._problem = ""

    def tell(self, event: Event) -> list[str]:
        """Return the sentences that describe an event. A message has none, because the views show it."""
        match event:
            case LoggedIn():
                return self._logged_in(event)
            case LoggedOut():
                self._is_away = False
                return [_(_LOGGED_OUT[event.reason])]
            case LoginFailed() if self._is_away:
                self._is_away = False
                reason = _(clean_line(event.refused.errmsg))
                return [_("could not log in again: {reason}; try /login").format(reason=reason)]
            case Disconnected(is_wanted=True) if not self._is_away:
                self._is_away = True
                self._problem = ""
                return [_("the connection is lost; trying again")]
            case SendFailed():
                return [_("NOT SENT to {message}").format(message=self.waiting(event))]
            case FriendState():
                name = shown_name(self._directory.user(event.id))
                return [_("{name} is {state}").format(name=name, state=_(clean_line(event.state)))]
            case Notice():
                return self._notice(event)
            case Problem() if event.text != self._problem:
                self._problem = event.text
                return [clean_line(event.text)]
        return []

    def waiting(self, event: SendFailed) -> str:
        title = self._directory.title(event.conv)
        if isinstance(event.refused, Stranded):  # the key belongs to another epoch
            title = shown_name(event.refused.who)
        return f"{title}: {clean_line(event.text)} ({_(clean_line(event.refused.errmsg))})"

    def _logged_in(self, event: LoggedIn) -> list[str]:
        self._is_away = False
        if event.is_resumed:
            return [_("connected again")]
        found = [_("logged in as {name}, id {id}").format(name=shown_name(event.name), id=event.id)]
        online = [shown_name(friend.name) for friend in event.friends if friend.state == "online"]
        return [*found, _("online: {names}").format(names=", ".join(online))] if online else found

    def _notice(self, event: Notice) -> list[str]:
        text = _NOTICES.get(event.kind)
        if text is None:
            return []
        group = self._directory.title(event.conv) if event.conv else ""
        if event.kind == "group_removed" and event.id == self._directory.me[0]:
            return [_("you were removed from {group}").format(group=group)]
        return [_(text).format(name=shown_name(event.name), group=group)]


def complaint(error: Exception) -> str:
    """Describe an error that a command raised."""
    told = _(error.errmsg) if isinstance(error, Refused) else str(error)
    return told or _("no answer in time")


def no_server(server: Server, error: OSError) -> list[str]:
    """Describe why no server answers."""
    where = {"host": server.host, "port": server.port}
    reason = error.told(_) if isinstance(error, Unreachable) else _(error.strerror or str(error))
    if isinstance(error, socket.gaierror):
        return [_("there is no host, nor a command, called {host}: {reason}").format(reason=reason, **where)]
    found = [_("nothing to chat with at {host}, port {port}: {reason}").format(reason=reason, **where)]
    can_start = isinstance(error, Unreachable) and error.is_refused and not server.tls
    return [*found, start_hint(server.port)] if can_start else found


def not_encrypted(server: Server) -> str:
    text = _(
        "the connection to {host} is not encrypted: others can read and change what is sent, passwords too; "
        "--tls encrypts it, --plain says that you know"
    )
    return text.format(host=server.host)


def put_aside(file: Path) -> str:
    return _("who has logged in here cannot be read; it was put into {file}").format(file=file)


def start_hint(port: int) -> str:
    program = os.path.join(os.path.dirname(sys.argv[0]), "forkchat")  # in chatcli's folder, e.g. bin/
    return _("to start a server there: {program} -w 4 -p {port}").format(program=program, port=port)


def moment(ts: int) -> datetime:
    """Convert a message's time, in milliseconds since 1970, to local time."""
    return datetime.fromtimestamp(ts / 1000, UTC).astimezone()


def when(ts: int) -> str:
    """Format a message's time for display, with the date unless it is today."""
    at = moment(ts)
    is_today = at.date() == datetime.now(UTC).astimezone().date()
    return at.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")
