"""chatcli, the terminal client: its arguments, and the mode that they select."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

from client import i18n
from client.aio import tls
from client.aio.server import PORT, TLS_PORT, Server, address
from client.commands.access import NEW_PASSWORD, PASSWORD
from client.commands.actions import count
from client.commands.shell import UsageError
from client.i18n import _
from client.local import files
from client.local.accounts import Accounts
from client.local.settings import BadSettings, Settings
from client.script.alone import Alone
from client.script.codes import OK, USAGE
from client.script.lines import Lines
from client.script.signals import ended_by_signals
from client.script.streams import Output, complain, open_closed
from client.text import valid
from forkchat import __version__


class _Parser(argparse.ArgumentParser):
    """An argument parser that works with standard streams in any state, even closed ones."""

    def error(self, message: str) -> NoReturn:
        complain(f"{self.format_usage()}{self.prog}: {message}")
        self.exit(USAGE)

    def print_help(self, file: object = None) -> NoReturn:
        _say(self.format_help().rstrip())


class _Version(argparse.Action):
    def __call__(self, *_: object) -> NoReturn:
        _say(f"chatcli {__version__}")


def _say(text: str) -> NoReturn:
    """Write the text that was asked for, and exit."""
    output = Output()
    output.write(text)
    sys.exit(output.exit_code(OK))


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    open_closed()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # messages may have letters that it cannot encode
    i18n.set_language("")
    try:
        settings = Settings(files.SETTINGS)
    except BadSettings as error:
        complain(f"chatcli: {error}")
        return USAGE
    i18n.set_language(settings.text("lang"))
    job, parser, options = parse(arguments)
    server, accounts = chosen_server(parser, options, settings)
    given = _passwords(parser, options.password_file)
    user = options.user or valid(os.environ.get("FORKCHAT_USER", ""))
    if not job and not options.json and os.isatty(0) and os.isatty(1):
        from client.screen.app import run  # imported only here, because scripts do not need it

        return run(server, settings, accounts, user, given)
    known = accounts.known()
    usual = "" if user else settings.text("user") or (str(known[0].id) if len(known) == 1 else "")
    if job and not (user or usual):
        parser.error(_("who? --user NAME, or FORKCHAT_USER"))

    async def script() -> int:
        if job:
            alone = Alone(server, settings, accounts, user or usual, given, options.json)
            return await _JOBS[job](alone, options)
        return await Lines(server, settings, accounts, user, given, options.json).all(usual)

    with ended_by_signals():
        return asyncio.run(script())


_JOBS: dict[str, Callable[[Alone, argparse.Namespace], Coroutine[Any, Any, int]]] = {
    "send": lambda script, options: script.send(options.to, options.text),
    "history": lambda script, options: script.history(options.conversation, options.number),
    "tail": lambda script, options: script.tail(options.conversation, options.number),
}


#: Usage of all forms of the command.
_USAGE = """%(prog)s [OPTION ...] [HOST[:PORT]]
       %(prog)s [OPTION ...] send TO TEXT
       %(prog)s [OPTION ...] history [-n NUMBER] TO
       %(prog)s [OPTION ...] tail [-n NUMBER] TO"""


def parse(arguments: list[str]) -> tuple[str, _Parser, argparse.Namespace]:
    """Return the job ("" for none), its parser, and the options from before and after its name."""
    options = make_parser("", argparse.REMAINDER).parse_args(arguments)
    words, options.address = options.address, None
    job = words[0] if words and words[0] in _JOBS else ""
    parser = make_parser(job)
    return job, parser, parser.parse_args(words[1:] if job else words, options)


def make_parser(job: str, words: str = "?") -> _Parser:
    """Return the parser of `job` ("" for none). `words` is the `nargs` of the server's address."""
    parser = _Parser(
        prog=f"chatcli {job}".rstrip(),
        usage=None if job else _USAGE,
        description=_("Chat on a forkchat server."),
        epilog=_("Exit codes: 0 all went well, 1 usage, 2 authentication, 3 network, 4 rejected, 5 timeout.")
        + ("" if job else " " + _("Also: chatcli send, chatcli history, chatcli tail; each has a --help.")),
    )
    where = _("the server (default: localhost:{port}, or :{tls_port} with --tls)").format(
        port=PORT, tls_port=TLS_PORT
    )
    if job == "send":
        parser.add_argument(
            "to", type=valid, metavar="TO", help=_("a name, an id, a conversation (g9) or #GROUP")
        )
        parser.add_argument("text", type=valid, metavar="TEXT", help=_("the message; - is standard input"))
    elif job:
        parser.add_argument(
            "conversation", type=valid, metavar="TO", help=_("a name, an id, a conversation (g9) or #GROUP")
        )
        parser.add_argument(
            "-n", dest="number", type=_number, default=20, metavar="NUMBER", help=_("messages of the past")
        )
    else:
        parser.add_argument("address", nargs=words, metavar="HOST[:PORT]", help=where)
    parser.add_argument("-s", "--server", metavar="HOST[:PORT]", help=where)
    parser.add_argument("--tls", action="store_true", help=_("connect with TLS"))
    parser.add_argument(
        "--plain",
        action="store_true",
        help=_("connect without TLS, also where it was used before; do not warn"),
    )
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help=_("with --tls: trust the authorities of this PEM file, instead of the system's"),
    )
    parser.add_argument("-u", "--user", type=valid, default="", metavar="NAME", help=_("who logs in"))
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help=_("the password is the first line of this file")
    )
    parser.add_argument("--version", nargs=0, action=_Version, help=_("say which version this is, and end"))
    parser.add_argument("--json", action="store_true", help=_("one JSON object a line, in and out"))
    return parser


def _number(text: str) -> int:
    try:
        return count(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def chosen_server(
    parser: _Parser, options: argparse.Namespace, settings: Settings
) -> tuple[Server, Accounts]:
    """Return the server, and its accounts on this machine. Exits if an option is wrong.

    A server that was used over TLS is used over TLS again, unless the user passes --plain.
    """
    if options.tls and options.plain:
        parser.error(_("--tls and --plain exclude each other"))
    if options.server and options.address:
        parser.error(_("the server is named twice"))
    is_tls = not options.plain and (options.tls or settings.is_on("tls"))
    authorities = options.ca or (Path(settings.text("ca")) if settings.text("ca") else None)
    try:
        host, port = address(
            options.server or options.address or settings.text("server"), TLS_PORT if is_tls else PORT
        )
        file = files.DATA / "accounts.json"
        accounts = Accounts(file, str(Server(host, port)))
        try:
            needs_tls = accounts.need_tls()
        except OSError as error:
            text = _("who has logged in here cannot be read: {file}: {reason}")
            parser.error(text.format(file=file, reason=error.strerror))
        accounts.is_tls = is_tls or (needs_tls and not options.plain)
        if options.ca and not accounts.is_tls:
            parser.error(_("--ca is for --tls"))
        context = tls.context(authorities) if accounts.is_tls else None
        return Server(host, port, context, options.plain and not needs_tls), accounts
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--ca {authorities}: {error.strerror}")


def _passwords(parser: _Parser, path: Path | None) -> dict[str, str]:
    """Return the given passwords. Remove them from the environment, because $EDITOR would inherit it."""
    given = {name: valid(os.environ.pop(name, "")) for name in (PASSWORD, NEW_PASSWORD)}
    if path:
        try:
            with path.open() as file:
                given[PASSWORD] = file.readline().rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"--password-file {path}: {error}")
    return given
