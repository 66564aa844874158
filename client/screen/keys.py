"""The keys, in one table from which the bindings and F1's help are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prompt_toolkit.filters import Always, Condition, is_searching
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys

from client.i18n import N_

if TYPE_CHECKING:
    from client.screen.app import App


@dataclass(frozen=True)
class Key:
    """A key and its action.

    `press`: the key sequences of prompt_toolkit that cause it. Keys without `run` belong to prompt_toolkit.
    """

    name: str
    help: str
    press: tuple[tuple[str, ...], ...] = ()
    run: Callable[[App], None] | None = None
    always: bool = False  # also while a question is open


def _go(number: int) -> Callable[[App], None]:
    return lambda app: app.reader.go_to(number)


KEYS = (
    Key(
        "Alt+a",
        N_("next unread conversation, mentions and direct messages first"),
        (("escape", "a"),),
        lambda app: app.reader.next_unread(),
    ),
    Key("Alt+Down", N_("next conversation"), (("escape", "down"),), lambda app: app.reader.step(1)),
    Key("Alt+Up", N_("previous conversation"), (("escape", "up"),), lambda app: app.reader.step(-1)),
    Key(
        "Alt+/", N_("the conversation before this one"), (("escape", "/"),), lambda app: app.reader.go_back()
    ),
    Key(
        "Ctrl+g",
        N_("go to a conversation by some letters of its name"),
        (("c-g",),),
        lambda app: app.reader.ask_where(),
    ),
    Key("PgUp", N_("scroll up; older messages are fetched"), (("pageup",),), lambda app: app.reader.page(1)),
    Key("PgDn", N_("scroll down"), (("pagedown",),), lambda app: app.reader.page(-1)),
    Key("Alt+u", N_("first unread message"), (("escape", "u"),), lambda app: app.reader.first_unread()),
    Key(
        "Alt+End",
        N_("latest message"),
        (("escape", "end"), ("escape", "c-end")),
        lambda app: app.reader.bottom(),
    ),
    Key(
        "Ctrl+s",
        N_("search in the conversation; again: further back"),
        (("c-s",),),
        lambda app: app.reader.search.press(),
        always=True,
    ),
    Key("Ctrl+r", N_("search in what you typed before")),
    Key("Up, Down", N_("what you typed before")),
    Key("Tab", N_("complete a command or a name")),
    Key("Enter", N_("send"), (("enter",),), lambda app: app.composer.enter(), always=True),
    Key("Alt+Enter", N_("new line"), (("escape", "enter"),), lambda app: app.composer.new_line()),
    Key("Alt+o", N_("open a link of this conversation"), (("escape", "o"),), lambda app: app.links.choose()),
    Key("Alt+k", N_("write in $EDITOR"), (("escape", "k"),), lambda app: app.composer.edit()),
    Key("Alt+l", N_("plain view, to select and copy"), (("escape", "l"),), lambda app: app.bare.show()),
    Key("F1", N_("this help"), (("f1",),), lambda app: app.help()),
    Key(
        "Ctrl+c",
        N_("clear the line, end a command or a question"),
        (("c-c",),),
        lambda app: app.cancel(),
        always=True,
    ),
    Key("Ctrl+z", N_("suspend; fg comes back"), (("c-z",),), lambda app: app.suspend(), always=True),
    Key("Ctrl+l", N_("draw the screen anew"), (("c-l",),), lambda app: app.redraw(), always=True),
    Key("Ctrl+q", N_("leave"), (("c-q",),), lambda app: app.leave(), always=True),
)
#: Alt+1 … Alt+9, as one line of the help.
NUMBERS = Key("Alt+1…9", N_("conversation by its number in the list"))


def bindings(app: App) -> KeyBindings:
    found = KeyBindings()
    is_free = Condition(lambda: not app.composer.question.is_open)

    def bind(press: tuple[str, ...], run: Callable[[App], None], always: bool) -> None:
        @found.add(*press, filter=~is_searching & (Always() if always else is_free), eager=press == ("c-s",))
        def _(event: KeyPressEvent) -> None:
            run(app)

    for key in KEYS:
        for press in key.press:
            if key.run:
                bind(press, key.run, key.always)
    for number in range(1, 10):
        bind(("escape", str(number)), _go(number), False)

    @found.add(Keys.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        app.composer.paste(event.data)

    return found
