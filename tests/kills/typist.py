"""A user who types into chatcli, and restarts it each time that it is killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from forkchat.wire import msgid as m
from forkchat.wire.conversation import group_key, pair_key
from tests.kills.lines import Line
from tests.pane import Pane, Tmux
from tests.server import Server, is_alive, make_data_dir, until
from tests.talk import PASSWORD, UNLIMITED, Modern

#: The ways to end chatcli: these signals, and closing its window.
ENDINGS = ("KILL", "TERM", "HUP", "QUIT", "close")
#: Seconds in which a line must be delivered, or be in the input line again.
_PATIENCE = 20.0
#: Seconds after the delivery of a line in which chatcli is done with it.
_QUIET = 1.0
#: The conversation, and the rows of the input line.
Input = tuple[str | None, list[str]]
_PROMPT = re.compile(r"^(\[?\w*\]?)>( .*|)$")


@dataclass
class Report:
    """The results. `again`: lines that were restored to the input line, and entered from there."""

    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDINGS, 0))
    keys: int = 0
    lines: int = 0
    once: int = 0
    again: int = 0
    breaches: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{number} {kind}" for kind, number in self.kills.items())
        counts = f"{sum(self.kills.values())} kills ({kills}); {self.keys} keys, {self.lines} lines:"
        counts += f" {self.once} delivered once, {self.again} of them after they stood before the user again"
        return "\n".join([f"{counts}; {len(self.breaches)} breaches", *self.breaches])


class Reader:
    """A recipient, with the texts that the server stored for them, in order."""

    def __init__(self, person: Modern, conv: str, port: int):
        self._person = person
        self._conv = conv
        self._port = port
        self.texts: list[str] = []
        self._last = 0

    def look(self) -> list[str]:
        try:
            self._fetch()
        except (OSError, EOFError):  # the server was away, or has heard nothing from this client for too long
            name = self._person.name
            self._person = Modern(self._port)
            self._person.login(name=name, password=PASSWORD, takeover=True)
            self._fetch()
        return self.texts

    def _fetch(self) -> None:
        while page := self._person.done(m.FETCH, conv=self._conv, after=self._last)["msgs"]:
            self.texts += [each["msg"] for each in page]
            self._last = page[-1]["seq"]


class Typist:
    """The user li, who talks to bo, mei and [ops] on a private server. A context manager."""

    def __init__(self, tmux: Tmux):
        self.report = Report()
        self.is_online = True
        self._tmux = tmux
        self._data_dir = make_data_dir()
        self._server = self._serve("0")
        self._port = self._server.port
        li, bo, mei, ann = (Modern(self._port).join_in(name) for name in ("li", "bo", "mei", "ann"))
        group = li.done(m.CREATE_GROUP, groupname="ops", groupdesc="")["groupid"]
        ann.done(m.ADD_GROUP, groupid=group)
        self.bo = bo.id
        self._readers = {
            "bo": Reader(bo, pair_key(li.id, bo.id), self._port),
            "mei": Reader(mei, pair_key(li.id, mei.id), self._port),
            "[ops]": Reader(ann, group_key(group), self._port),
        }
        self._waiting = 0  # lines entered since the server stopped
        self._said: dict[str, list[str]] = {name: [] for name in self._readers}
        self._steps = self._data_dir / "steps"
        self._program = (sys.executable, "-m", "tests.kills.stepping", str(self._steps))
        self._pane = Pane(tmux, self._port, program=self._program)
        for reader, to in zip(self._readers.values(), ({"toid": bo.id}, {"toid": mei.id}), strict=False):
            li.done(m.ONE_CHAT, msg="hello", **to)
            reader.look().clear()
        li.done(m.LOGINOUT)
        self._pane.enter("login", "li")

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        shutil.rmtree(self._data_dir, ignore_errors=True)

    def walk(self, line: Line, endings: Iterator[str]) -> None:
        """Type a line; after each key kill and restart chatcli, and check that the text is still there."""
        self._go(line.place)
        for at, key in enumerate(line.text, 1):
            cursor = self._pane.state()[0]
            self._pane.press("M-Enter") if key == "\n" else self._pane.write(key)
            until(partial(self._has_moved, cursor), "the key is there")
            self.report.keys += 1
            self._end(next(endings), self._pane.pid())
            self._start()
            self._go(line.place)
            self._stands(line, line.text[:at])
        self._pane.press("Enter")
        self._end(next(endings), self._pane.pid())
        self._start()
        self._settle(line)

    def step(self, line: Line, steps: int, ending: str) -> bool:
        """Type a line; have chatcli end itself `steps` steps after Enter.

        Return False if chatcli was done before that many steps.
        """
        self._go(line.place)
        for part in re.split("(\n)", line.text):
            self._pane.press("M-Enter") if part == "\n" else self._pane.write(part)
        self._stands(line, line.text)
        self.report.keys += len(line.text)
        self._steps.write_text(f"{steps} {ending}")
        pid = self._pane.pid()
        os.kill(pid, signal.SIGUSR1)
        self._pane.press("Enter")
        reader, end = self._readers[line.to], time.monotonic() + _QUIET
        while is_alive(pid) and (line.said not in reader.look() or time.monotonic() < end):
            time.sleep(0.01)
        if has_died := not is_alive(pid):
            self.report.kills[ending] += 1
        else:
            self._end("KILL", pid)
        self._start()
        self._settle(line)
        return has_died

    def go_offline(self) -> None:
        self._server.kill()
        self.is_online = False
        self._waiting = 0

    def go_online(self) -> None:
        """Restart the server, and wait until the lines entered meanwhile are delivered."""
        self._server = self._serve(str(self._port))
        self.is_online = True
        for name, texts in self._said.items():
            until(partial(self._have_come, name, texts), f"{texts} for {name}", 30.0)

    def finish(self) -> Report:
        """Check that each line was delivered once, in the order of typing; return the report."""
        for name, texts in self._said.items():
            found = self._readers[name].look()
            self.report.lines += len(texts)
            self.report.once += sum(found.count(text) == 1 for text in texts)
            if found != texts:
                self.report.breaches.append(f"to {name}: {found} in place of {texts}")
        return self.report

    def _serve(self, port: str) -> Server:
        return Server("-w", "1", "-p", port, config=UNLIMITED, data_dir=self._data_dir).__enter__()

    def _start(self) -> None:
        with suppress(subprocess.CalledProcessError):  # the window may be closed already
            self._pane.close()
        self._pane = Pane(self._tmux, self._port, home=self._pane.home, program=self._program)
        self._pane.shows(lambda screen: re.search("li ●|offline:", screen), "it has begun")

    def _end(self, ending: str, pid: int) -> None:
        if ending == "close":
            self._pane.close()
        else:
            with suppress(ProcessLookupError):  # it may just have ended itself
                os.kill(pid, signal.Signals[f"SIG{ending}"])
        until(lambda: not is_alive(pid), f"it is dead by {ending}")
        self.report.kills[ending] += 1
        if errors := self._pane.errors.read_text():
            self.report.breaches.append(f"by {ending}: {errors}")

    def _go(self, place: str) -> None:
        """Go to a conversation by keys.

        If it is open already, go elsewhere first. After that, a line entered before no longer changes the
        conversation.
        """
        is_there = _input(self._pane.screen())[0] == place
        for each in ["bo" if place == "mei" else "mei", place] if is_there else [place]:
            self._pane.press("C-g")
            self._pane.write(each.strip("[]") or "forkchat")
            self._pane.press("Enter")
        self._pane.shows(lambda screen: _input(screen)[0] == place, f"the way to {place or 'the home page'}")

    def _has_moved(self, cursor: str) -> bool:
        return self._pane.state()[0] != cursor

    def _has_changed(self, before: Input) -> bool:
        return _input(self._pane.screen()) != before

    def _have_come(self, name: str, texts: list[str]) -> bool:
        return set(texts) <= set(self._readers[name].look())

    def _stands(self, line: Line, text: str) -> None:
        """Wait until the text is in the input line."""
        wanted = line.place, text.rstrip().split("\n")
        self._pane.shows(lambda screen: _input(screen) == wanted, f"{wanted}")

    def _settle(self, line: Line) -> None:
        """Wait until an entered line is delivered. If it is in the input line again, enter it again."""
        self._said[line.to].append(line.said)
        self._waiting += 1
        wanted = line.place, line.text.split("\n")
        has_entered = False
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            screen = self._pane.screen()
            place, rows = _input(screen)
            if "y/n:" in screen or (place, rows) == wanted:
                has_entered = True
                self._pane.type("y") if "y/n:" in screen else self._pane.press("Enter")
                until(partial(self._has_changed, (place, rows)), "it is entered")
            elif self._is_safe(line, screen):
                self.report.again += has_entered
                self._go(line.place)
                if _input(self._pane.screen()) == wanted:
                    self.report.breaches.append(f"{line} stands there as if it had not been sent")
                return
            elif place != line.place:
                self._go(line.place)
        self.report.breaches.append(f"{line} is nowhere:\n{self._pane.screen()}")

    def _is_safe(self, line: Line, screen: str) -> bool:
        """Return True if the line was delivered, or, without a server, if it is queued on the screen."""
        if self.is_online:
            return line.said in self._readers[line.to].look()
        return f" {self._waiting} not sent yet" in screen


def _input(screen: str) -> Input:
    """Return the conversation and the rows of the input line; None for another kind of line."""
    rows = screen.splitlines()
    for at in range(len(rows) - 1, -1, -1):
        if match := _PROMPT.match(rows[at]):
            return match[1], "\n".join([match[2].removeprefix(" "), *rows[at + 1 :]]).rstrip().split("\n")
    return None, []
