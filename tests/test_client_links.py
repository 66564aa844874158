"""Tests of links: which parts of a text are links, and which cells of the terminal lead to them.

The cells are right after any earlier drawing.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt_toolkit.application import Application
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.input import DummyInput
from prompt_toolkit.layout import Float, FormattedTextControl, Layout, Window
from prompt_toolkit.output import ColorDepth

from client.local.settings import Settings
from client.protocol.events import Message
from client.screen.hyperlinks import Hyperlinks, LinkedContainer, LinkedOutput, is_able
from client.screen.links import LinkCompleter, browser
from client.screen.panes import Pane
from client.screen.rows import Row, message_rows
from client.text import LINK

WIDTH, HEIGHT = 44, 12
_PIECES = re.compile(
    r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\]8;([^;]*);([^\x1b]*)\x1b\\|([\r\n\b])|([^\x1b])", re.DOTALL
)

Cells = dict[tuple[int, int], tuple[str, str]]


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see https://example.org/a?b=c#d.", ["https://example.org/a?b=c#d"]),
        ("(https://example.org/Foo_(bar)), HTTP://X.ORG!", ["https://example.org/Foo_(bar)", "HTTP://X.ORG"]),
        ("看https://例子.cn/路径，很快（http://a.b/c）", ["https://例子.cn/路径", "http://a.b/c"]),
        ('<a href="https://x.y">', ["https://x.y"]),
        ("mailto:bo@example.org, please", ["mailto:bo@example.org"]),
        ("javascript:alert(1) file:///etc/passwd ftp://x data:text/html,x https:// http://...", []),
        ("https://a.b/(" + "(" * 2000, ["https://a.b/"]),
        ("https://a.b/" + "." * 100_000, ["https://a.b/"]),
    ],
)
def test_what_is_a_link(text: str, links: list[str]) -> None:
    assert LINK.findall(text) == links


class Terminal:
    """A terminal that knows the character in each cell, and the link that the cell leads to."""

    def __init__(self) -> None:
        self.cells: Cells = {}
        self.ids: dict[str, set[str]] = {}
        self._x = self._y = 0
        self._link = ""

    def feed(self, data: str) -> None:
        assert "".join(match[0] for match in _PIECES.finditer(data)) == data
        for parameters, final, about, link, control, character in _PIECES.findall(data):
            number = int(parameters) if parameters.isdigit() else 1
            if control:
                self._x, self._y = {"\r": (0, self._y), "\n": (self._x, self._y + 1)}.get(
                    control, (self._x - 1, self._y)
                )
            elif character:
                self.cells[self._y, self._x] = character, self._link
                self._x += 1
            elif final:
                self._move(final, number)
            else:
                self._link = link
                if link:
                    self.ids.setdefault(link, set()).add(about)
        assert not self._link, "a link is left open"

    def _move(self, final: str, number: int) -> None:
        dx, dy = {"A": (0, -1), "B": (0, 1), "C": (1, 0), "D": (-1, 0)}.get(final, (0, 0))
        self._x, self._y = self._x + dx * number, self._y + dy * number
        if final == "H":
            self._x = self._y = 0
        elif final in "KJ":
            rest = {
                at
                for at in self.cells
                if (at[0] == self._y and at[1] >= self._x) or (final == "J" and at[0] > self._y)
            }
            self.cells = {at: cell for at, cell in self.cells.items() if at not in rest}

    def links(self) -> dict[tuple[int, int], tuple[str, str]]:
        return {at: cell for at, cell in self.cells.items() if cell[1]}


class Screen:
    """A pane with messages, and perhaps a menu that floats above it."""

    def __init__(self, settings: Settings):
        self.rows: list[Row] = []
        self.floating = ""
        self.terminal = Terminal()
        self._out = io.StringIO()
        links = Hyperlinks(settings)
        pane = Window(Pane(lambda width, height: links.numbered(self.rows), lambda *_: None))
        menu = Float(Window(FormattedTextControl(lambda: self.floating), width=20, height=3), top=8, left=10)
        self._application: Application[None] = Application(
            Layout(LinkedContainer(pane, [menu], links=links)),
            input=DummyInput(),
            output=LinkedOutput(
                self._out, lambda: Size(HEIGHT, WIDTH), default_color_depth=ColorDepth.MONOCHROME
            ),
            full_screen=True,
        )

    def draw(self, texts: list[str]) -> Cells:
        """Draw `texts`, and return the cells that should lead to a link, each with its link."""
        rows = [
            row
            for number, text in enumerate(texts)
            for row in message_rows(Message("g1", number, 2, "bo", text, 1), WIDTH - 1, "✓", "", "")
        ]
        self.rows = rows[-HEIGHT:]
        self._application.renderer.render(self._application, self._application.layout)
        self.terminal.feed(self._out.getvalue())
        self._out.truncate(0)
        self._out.seek(0)
        wanted: Cells = {}
        for y, row in enumerate(self.rows, HEIGHT - len(self.rows)):
            x = 0
            for style, text in row:
                for character in text:
                    if match := re.search(r"\[link:(\S+)\]", style):
                        wanted[y, x] = character, match[1]
                    x += 1
        return {at: cell for at, cell in wanted.items() if not (8 <= at[0] < 11 and 10 <= at[1] < 30)}


WORDS = st.sampled_from(
    [
        *(
            "https://a.bc",
            "https://a.bd",
            "https://example.org/" + "long/" * 20,
            "mailto:bo@a.bc",
            "word",
            "more",
        ),
        *(
            "https://example.org/[ZeroWidthEscape]/x",
            "https://example.org/]8;;evil",
            "(https://a.bc)",
            "https",
        ),
    ]
)
MESSAGES = st.lists(st.lists(WORDS, max_size=6).map(" ".join), min_size=1, max_size=8)


@settings(max_examples=40)  # each example draws up to five screens
@given(frames=st.lists(st.tuples(MESSAGES, st.sampled_from(["", "a menu of https"])), min_size=1, max_size=5))
def test_every_cell_of_a_link_leads_to_all_of_it(frames: list[tuple[list[str], str]]) -> None:
    """Each cell of a link leads to the whole link after each drawing, although only changes are written.

    No other cell leads anywhere.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm-256color")
        screen = Screen(Settings(Path("/nonexistent")))
    for texts, floating in frames:
        screen.floating = floating
        wanted = screen.draw(texts)
        assert screen.terminal.links() == wanted
        assert all(len(ids) == 1 for ids in screen.terminal.ids.values()), "the parts of one link are one"


def test_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    settings = Settings(tmp_path / "chatcli.toml")
    screen = Screen(settings)
    assert screen.draw(["see https://a.bc"])
    assert screen.terminal.links()
    settings.set("links", "off")
    screen.draw(["see https://a.bc"])
    assert not screen.terminal.links()


def test_an_address_is_ascii() -> None:
    links = Hyperlinks(Settings(Path("/nonexistent")))
    links._number("https://例.cn/\x7f;a%20b")
    assert links._sequences == {0: "\x1b]8;id=0;https://%E4%BE%8B.cn/%7F;a%20b\x1b\\"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "linux"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": ""}, False),
        ({"TERM": "vt100"}, False),
        ({"TERM": "screen"}, False),
        ({"TERM": "screen", "TMUX": "there"}, True),
        ({"TERM": "linux", "TMUX": "there"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "4602"}, False),
        ({"TERM": "xterm-256color", "VTE_VERSION": "7006"}, True),
    ],
)
def test_terminals_that_lack_them(
    monkeypatch: pytest.MonkeyPatch, env: dict[str, str], expected: bool
) -> None:
    for name in ("TERM", "TMUX", "VTE_VERSION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert is_able() is expected


@pytest.mark.parametrize(
    ("env", "command"),
    [
        ({"BROWSER": "firefox -P 'my own'"}, ["firefox", "-P", "my own", "https://a.b"]),
        ({"BROWSER": "open --url=%s:w3m"}, ["open", "--url=https://a.b"]),
        ({}, []),
        ({"DISPLAY": ":0"}, []),
    ],
)
def test_browsers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, env: dict[str, str], command: list[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert browser("https://a.b") == command
    (tmp_path / "xdg-open").touch(mode=0o755)
    assert browser("https://a.b") == (command or ([str(tmp_path / "xdg-open"), "https://a.b"] if env else []))


def test_the_menu() -> None:
    completer = LinkCompleter(
        {"https://a.b/x": "bo 11-29 22:00", "https://c.d/" + "y" * 100: "mei 11-29 21:00"}
    )
    found = [*completer.get_completions(Document(""), CompleteEvent())]
    assert [each.text[:11] for each in found] == ["https://a.b", "https://c.d"]
    assert len(found[1].display_text) == 60
    (only,) = completer.get_completions(Document("MEI"), CompleteEvent())
    assert (only.text[:11], only.start_position) == ("https://c.d", -3)
