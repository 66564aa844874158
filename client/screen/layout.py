"""The layout of the screen, and the parts that are hidden when it is small."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from prompt_toolkit.application import Application
from prompt_toolkit.application.current import get_app
from prompt_toolkit.filters import Condition
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    DynamicContainer,
    Float,
    FormattedTextControl,
    HSplit,
    Layout,
    VSplit,
    Window,
)
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.layout.processors import BeforeInput, ConditionalProcessor, PasswordProcessor
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.utils import get_bell_environment_variable, get_term_environment_variable
from prompt_toolkit.widgets import SearchToolbar

from client.i18n import _
from client.screen import panes
from client.screen.hyperlinks import LinkedContainer, LinkedOutput
from client.screen.keyboard import Keyboard
from client.screen.keys import bindings
from client.screen.listing import Listing
from client.screen.plain import Plainly, plainly
from client.screen.style import STYLE

if TYPE_CHECKING:
    from client.screen.app import App

#: Columns of the screen below which the list is hidden.
#: Rows of the screen below which the title line is hidden.
_LIST_FROM, _TITLE_FROM = 60, 8
#: Rows that the input grows to, at most.
#: Columns of the list, at least and at most.
_INPUT_ROWS, _MIN_LIST, _MAX_LIST = 6, 14, 26
#: Seconds after which an Esc counts as the key, not as the beginning of a sequence.
_ESCAPE_TIME = 0.1


def build(app: App) -> Application[None]:
    columns = Condition(lambda: get_app().output.get_size().columns >= _LIST_FROM)
    rows = Condition(lambda: get_app().output.get_size().rows >= _TITLE_FROM)
    history = SearchToolbar(backward_search_prompt=lambda: _("typed before: "), ignore_case=True)
    text = BufferControl(
        app.composer.buffer,
        search_buffer_control=history.control,
        preview_search=True,
        input_processors=[
            Plainly(),
            BeforeInput(lambda: panes.prompt(app, get_app().output.get_size().columns), "class:prompt"),
        ],
    )
    answer = BufferControl(
        app.composer.question.buffer,
        input_processors=[
            Plainly(),
            ConditionalProcessor(PasswordProcessor(), Condition(lambda: app.composer.question.is_secret)),
            BeforeInput(lambda: plainly(app.composer.question.label), "class:prompt"),
        ],
    )
    text_window = Window(
        text, height=Dimension(min=1, max=_INPUT_ROWS), wrap_lines=True, dont_extend_height=True
    )
    answer_window = Window(answer, height=1)

    def input_window() -> Window:
        return answer_window if app.composer.question.is_open else text_window

    def list_width() -> Dimension:
        width = get_app().output.get_size().columns // 5
        return Dimension.exact(min(_MAX_LIST, max(_MIN_LIST, width)))

    listing = Listing(app)
    chat = HSplit(
        [
            ConditionalContainer(
                Window(FormattedTextControl(lambda: panes.title(app)), height=1, style="class:title"), rows
            ),
            Window(panes.Pane(app.reader.draw, app.reader.on_wheel)),
        ]
    )
    side = VSplit(
        [
            Window(
                panes.Pane(listing.draw, listing.on_click),
                width=list_width,
            ),
            Window(width=1, char="│", style="class:line"),
        ]
    )
    status = FormattedTextControl(lambda: panes.status(app, get_app().output.get_size().columns))
    body = HSplit(
        [
            VSplit([ConditionalContainer(side, columns), chat]),
            Window(status, height=1, style="class:status"),
            history,
            DynamicContainer(input_window),
        ]
    )
    output = LinkedOutput.from_pty(
        sys.stdout,
        get_term_environment_variable(),
        ColorDepth.from_env(),
        get_bell_environment_variable(),
    )
    assert isinstance(output, LinkedOutput)
    output.on_gone = lambda: app.end(signal.SIGHUP)
    menu = Float(CompletionsMenu(max_height=8), xcursor=True, ycursor=True)
    found: Application[None] = Application(
        Layout(LinkedContainer(body, [menu], links=app.hyperlinks), focused_element=text_window),
        key_bindings=bindings(app),
        style=STYLE,
        full_screen=True,
        mouse_support=Condition(lambda: app.settings.is_on("mouse")),
        input=Keyboard(sys.stdin),
        output=output,
    )
    found.ttimeoutlen = _ESCAPE_TIME
    layout = found.layout  # kept, because the pager puts its own in this place
    app.composer.question.on_change = lambda: layout.focus(input_window())
    return found
