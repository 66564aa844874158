"""Tests of the commands that users can type: their table, their parsing and their help."""

from __future__ import annotations

import inspect

import pytest

from client.aio.server import address
from client.commands.actions import whose_history
from client.commands.shell import UsageError
from client.commands.table import CLASSIC, COMMANDS, parse_line, without_password
from client.protocol.events import ConnectionLost
from client.script.codes import AUTHENTICATION, NETWORK, REJECTED, TIMEOUT, USAGE, exit_code
from forkchat.errors import AlreadyOnline, Failed, NotLoggedIn, RateLimited, TokenExpired, Unavailable


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("/register li", "register", ["li"]),
        ('/register "li na"', "register", ["li na"]),
        ("/login 57", "login", ["57"]),
        ("/msg bo hi  there ", "msg", ["bo", "hi  there"]),
        ('/msg "my name" hi', "msg", ["my name", "hi"]),
        ('/msg bo "quoted"', "msg", ["bo", '"quoted"']),
        ("/msg bo two\nlines", "msg", ["bo", "two\nlines"]),
        ("/msg bo", "msg", ["bo"]),
        ('/add "my name"', "add", ["my name"]),
        ("/add my name", "add", ["my name"]),
        ("/group create ops", "group create", ["ops"]),
        ("/group create ops the best  ops", "group create", ["ops", "the best  ops"]),
        ('/group create "our ops" x', "group create", ["our ops", "x"]),
        ("/groups", "groups", []),
        ("/history bo 50", "history", ["bo", "50"]),
        ("/remove #ops bo", "remove", ["#ops", "bo"]),
        ("/remove bo", "remove", ["", "bo"]),
        ('/remove "my name"', "remove", ["", "my name"]),
        ("/readmit bo", "readmit", ["", "bo"]),
        ("/leave", "leave", []),
        ("/part #our ops", "part", ["#our ops"]),
        ("/names", "names", []),
        ("/me waves  twice ", "me", ["waves  twice"]),
        ('/query "my name" hi there', "query", ["my name", "hi there"]),
        ("/query bo", "query", ["bo"]),
        ("/say /quit: not now", "say", ["/quit: not now"]),
        ("/quit", "quit", []),
        ("plain text", "say", ["plain text"]),
        ("a: b", "say", ["a: b"]),
        ("help me", "say", ["help me"]),
        ("help: me", "say", ["help: me"]),
        ("chat", "say", ["chat"]),
        ("help", "help", []),
        ("chat:57:hi: there", "msg", ["57", "hi: there"]),
        ("chat: 57 :hi", "msg", ["57", "hi"]),
        ("addfriend:57", "add", ["57"]),
        ("creategroup:ops:the ops: all", "group create", ["ops", "the ops: all"]),
        ("creategroup:ops:", "group create", ["ops", ""]),
        ("addgroup:9", "join", ["9"]),
        ("groupchat:9:hi:", "groupchat", ["9", "hi:"]),
        ("loginout", "logout", []),
    ],
)
def test_parse(line: str, name: str, arguments: list[str]) -> None:
    command, found = parse_line(line)
    assert (command.name, found) == (name, arguments)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/mgs bo hi", "do you mean /msg WHO [TEXT]?"),
        ("/reg", "do you mean /register NAME?"),
        ("/group", "do you mean /groups?"),
        ("/group delete x", "do you mean /groups?"),
        ("/xyzzy", "/help lists all"),
        ("/", "/help lists all"),
        ("/msg", "usage: /msg WHO [TEXT]"),
        ("/quit now", "usage: /quit"),
        ("/login bo hunter2", "usage: /login WHO (the password is asked for"),
        ("/register li na", "usage: /register NAME (the password is asked for"),
        ("/passwd old new", "usage: /passwd (the password is asked for"),
        ("/friends x", "usage: /friends"),
        ("/remove", "usage: /remove [GROUP] WHO"),
        ("/me", "usage: /me TEXT"),
        ("chat:57", "usage: chat:ID:TEXT (or, to say it as it is: /say chat:57)"),
        ("addfriend:", "usage: addfriend:ID"),
        ("chat::hi", "usage: chat:ID:TEXT"),
    ],
)
def test_usage(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(line)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("/login bo hunter2", "/login bo "),
        ("/login  bo\nhunter2", "/login  bo\n"),
        ('/register "li na" hunter2', '/register "li na" '),
        ("/passwd hunter2", "/passwd "),
        ("/register ", "/register "),
        ("/login", "/login"),
        ("/msg bo hunter2", "/msg bo hunter2"),
        ("login bo hunter2", "login bo hunter2"),
    ],
)
def test_no_password_is_kept(line: str, kept: str) -> None:
    assert without_password(line) == kept


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ("", 20)),
        (("50",), ("", 50)),
        (("bo",), ("bo", 20)),
        (("@50",), ("@50", 20)),
        (("g9",), ("g9", 20)),
        (("57", "50"), ("57", 50)),
    ],
)
def test_whose_history(words: tuple[str, ...], expected: tuple[str, int]) -> None:
    assert whose_history(*words, *[""] * (2 - len(words))) == expected


@pytest.mark.parametrize("command", COMMANDS.values(), ids=str)
def test_table(command: object) -> None:
    """Every command takes the parameters that its usage promises, and has a line of help."""
    found = next(c for c in COMMANDS.values() if c is command)
    _, *parameters = inspect.signature(found.run).parameters.values()
    optional = [parameter.default is not parameter.empty for parameter in parameters]
    given = found.parameters
    if given[:1] == ["[GROUP]"] and found.required:  # the group is "" when it is left out
        given = ["GROUP", *given[1:]]
    assert optional == [word.startswith("[") for word in given]
    assert found.help


@pytest.mark.parametrize(
    "line",
    ["help", "chat:57:hi", "addfriend:57", "creategroup:a:b", "addgroup:9", "groupchat:9:x", "loginout"],
)
def test_the_originals_are_texts_where_someone_is_talked_to(line: str) -> None:
    assert parse_line(line)[0].name != "say"
    command, arguments = parse_line(line, has_classic=False)
    assert (command.name, arguments) == ("say", [line])


def test_the_originals_are_all_there() -> None:
    assert set(CLASSIC) == {
        *("help", "chat", "addfriend", "creategroup", "addgroup", "groupchat", "loginout"),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("example.org", ("example.org", 6000)),
        ("example.org:7000", ("example.org", 7000)),
        (":7000", ("localhost", 7000)),
        ("[::1]", ("::1", 6000)),
        ("[::1]:7000", ("::1", 7000)),
        ("fe80::1", ("fe80::1", 6000)),
    ],
)
def test_address(text: str, expected: tuple[str, int]) -> None:
    assert address(text) == expected


@pytest.mark.parametrize("text", ["x:0", "x:65536", "x:", "x:http", "[::1]:"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="port"):
        address(text)


@pytest.mark.parametrize(
    ("error", "in_login", "otherwise"),
    [
        (UsageError("x"), USAGE, USAGE),
        (Failed("wrong name or password"), AUTHENTICATION, REJECTED),
        (AlreadyOnline("x"), AUTHENTICATION, AUTHENTICATION),
        (TokenExpired("x"), AUTHENTICATION, AUTHENTICATION),
        (NotLoggedIn("x"), AUTHENTICATION, AUTHENTICATION),
        (Unavailable("too many logins at once"), REJECTED, REJECTED),
        (RateLimited("too many tries; wait a little"), REJECTED, REJECTED),
        (ConnectionLost(), NETWORK, NETWORK),
        (ConnectionRefusedError(), NETWORK, NETWORK),
        (TimeoutError(), TIMEOUT, TIMEOUT),
    ],
    ids=repr,
)
def test_exit_codes(error: Exception, in_login: int, otherwise: int) -> None:
    assert (exit_code(error, is_login=True), exit_code(error, is_login=False)) == (in_login, otherwise)
