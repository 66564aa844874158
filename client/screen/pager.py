"""A pager over the whole screen, for texts that are longer than an answer, such as help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.key_binding import KeyBindings, KeyBindingsBase, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.mouse_events import MouseEventType

from client.i18n import _
from client.screen.panes import Pane
from client.screen.plain import plainly
from client.screen.rows import Row
from client.text import clean, wrapped

if TYPE_CHECKING:
    from client.screen.app import App

_CLOSING = "q", "escape", "enter", "c-c", "f1"
_END = 1 << 20
#: Rows by which each key scrolls.
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "home": -_END, "g": -_END, "end": _END, "G": _END}
#: Screens by which each key scrolls.
_PAGES = {"pageup": -1, "b": -1, "pagedown": 1, " ": 1}
_WHEEL = {MouseEventType.SCROLL_UP: -3, MouseEventType.SCROLL_DOWN: 3}


class Pager:
    """The pager. It replaces the application's layout and keys while it is open."""

    def __init__(self, app: App):
        self._app = app
        self._title = ""
        self._lines: list[str] = []
        self._top = 0
        self._size = 80, 24
        self._layout = Layout(
            HSplit(
                [
                    Window(FormattedTextControl(lambda: self._title), height=1, style="class:title"),
                    Window(Pane(self._draw, self._on_mouse)),
                    Window(FormattedTextControl(self._hint), height=1, style="class:status"),
                ]
            )
        )
        self._bindings = self._bind()
        self._covered: tuple[Layout, KeyBindingsBase | None] | None = None

    @property
    def _application(self) -> Application[None]:
        return self._app.application

    def show(self, title: str, lines: list[str]) -> None:
        self._title, self._lines, self._top = title, lines, 0
        if self._covered is None:
            self._covered = self._application.layout, self._application.key_bindings
            self._application.layout = self._layout
            self._application.key_bindings = self._bindings
        self._application.invalidate()

    def close(self) -> None:
        if self._covered:
            self._application.layout, self._application.key_bindings = self._covered
            self._covered = None
            self._application.invalidate()

    def _rows(self) -> list[str]:
        width = self._size[0]
        return [row for line in self._lines for row in wrapped(plainly(clean(line)), width, width)]

    def _draw(self, width: int, height: int) -> list[Row]:
        self._size = width, height
        self._scroll(0)
        rows: list[Row] = [[("", row)] for row in self._rows()[self._top : self._top + height]]
        return rows + [[]] * (height - len(rows))

    def _scroll(self, rows: int) -> None:
        self._top = max(0, min(self._top + rows, len(self._rows()) - self._size[1]))

    def _hint(self) -> str:
        keys = _("PgUp and PgDn scroll; q, Esc, Enter or Ctrl+c closes")
        rows, last = len(self._rows()), self._top + self._size[1]
        return f" {keys}" + (f" │ {last * 100 // rows} %" if last < rows else "")

    def _on_mouse(self, _row: int, _height: int, kind: MouseEventType) -> None:
        self._scroll(_WHEEL.get(kind, 0))

    def _bind(self) -> KeyBindings:
        found = KeyBindings()

        def scroll(key: str, rows: int) -> None:
            @found.add(key)
            def _(event: KeyPressEvent) -> None:
                self._scroll(rows)

        def page(key: str, direction: int) -> None:
            @found.add(key)
            def _(event: KeyPressEvent) -> None:
                self._scroll(direction * max(1, self._size[1] - 1))

        for key, rows in _STEPS.items():
            scroll(key, rows)
        for key, direction in _PAGES.items():
            page(key, direction)
        for key in _CLOSING:
            found.add(key)(lambda event: self.close())
        found.add("c-l")(lambda event: self._app.redraw())
        found.add("c-z")(lambda event: self._app.suspend())

        @found.add("c-q")
        def _(event: KeyPressEvent) -> None:
            self.close()
            self._app.leave()

        @found.add("escape", Keys.Any)
        @found.add(Keys.Any)
        def _(event: KeyPressEvent) -> None:
            """Ignore all other keys, which belong to the covered layout."""

        return found
