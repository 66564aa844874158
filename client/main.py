"""chatcli, the terminal client: its arguments, its main loop, its exit codes."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from ssl import SSLContext
from typing import NoReturn

from prompt_toolkit.patch_stdout import patch_stdout

from client import tls
from client.commands import COMMANDS, Command, parse_line
from client.directory import Directory
from client.events import ConnectionLost, Event, Message
from client.lines import Lines
from client.screen import Interrupt, Pipes, Screen, Terminal
from client.shell import Quit, Shell, Told, UsageError
from client.transport import Client
from forkchat.errors import NotLoggedIn, Refused, TokenExpired

OK, USAGE, AUTHENTICATION, NETWORK, REJECTED, TIMEOUT = range(6)
PORT, TLS_PORT = 6000, 8443


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def address(text: str, default_port: int = PORT) -> tuple[str, int]:
    """`HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT` or a bare IPv6 address. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")) or text.endswith("]"):
        host, port = text, str(default_port)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"no such port: {port}")
    return host.removeprefix("[").removesuffix("]") or "localhost", int(port)


def main(argv: list[str] | None = None) -> int:
    parser = _Parser(
        prog="chatcli",
        description="Chat on a forkchat server.",
        epilog="Exit codes: 0 all went well, 1 usage, 2 authentication, 3 network, 4 rejected, 5 timeout.",
    )
    parser.add_argument(
        "address",
        nargs="?",
        default="localhost",
        metavar="HOST[:PORT]",
        help=f"the server (default: localhost:{PORT}, or :{TLS_PORT} with --tls)",
    )
    parser.add_argument("--tls", action="store_true", help="connect with TLS")
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help="with --tls: trust the authorities of this PEM file, instead of the system's",
    )
    options = parser.parse_args(argv)
    if options.ca and not options.tls:
        parser.error("--ca is for --tls")
    try:
        host, port = address(options.address, TLS_PORT if options.tls else PORT)
        context = tls.context(options.ca) if options.tls else None
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--ca {options.ca}: {error.strerror}")
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115 - closed is at its end
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    screen: Screen = Terminal([f"/{name}" for name in COMMANDS]) if is_terminal else Pipes()
    try:
        with patch_stdout() if is_terminal else nullcontext():
            return asyncio.run(_chat(host, port, context, screen))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


async def _chat(host: str, port: int, context: SSLContext | None, screen: Screen) -> int:
    directory = Directory()
    lines = Lines(directory)

    def on_event(event: Event) -> None:
        if directory.note(event):
            for row in lines.event(event, screen.width):
                screen.write(row)
        if isinstance(event, Message) and event.seq and not event.is_own:
            client.read(event.conv, event.seq)

    client = Client(host, port, on_event=on_event, patience=screen.patience, ssl=context)
    try:
        await client.connect()
    except OSError as error:
        screen.complain(f"nothing to chat with at {host}, port {port}: {error.strerror or error}")
        if not context:
            screen.complain(f"to start a server there: forkchat -w 4 -p {port}")
        return NETWORK
    shell = Shell(client, screen, directory, lines)
    if screen.is_terminal:
        shell.tell(f"connected to {host}, port {port}")
        shell.tell("/register NAME makes an account, /login NAME logs in, /help lists everything")
    code = await _converse(shell)
    if not await client.settle(screen.patience):
        shell.complain(f"not acknowledged: {client.session.unsent} messages")
        code = code or TIMEOUT
    await client.close()
    return code


async def _converse(shell: Shell) -> int:
    """Run what is typed, line by line; the exit code: of a script, that of its first failure."""
    code = OK
    is_leaving = False
    while True:
        try:
            line = await shell.screen.line(shell.prompt)
            is_leaving = False
            failed = await _run_interruptibly(shell, line) if line.strip() else OK
        except (EOFError, Quit):
            return OK if shell.screen.is_terminal else code
        except Interrupt:
            if is_leaving:
                return OK
            is_leaving = True
            shell.tell("Ctrl-C again leaves, as do /quit and Ctrl-D")
        else:
            code = code or failed


async def _run_interruptibly(shell: Shell, line: str) -> int:
    """On a terminal Ctrl-C ends the command, not the client."""
    if not shell.screen.is_terminal:
        return await _run(shell, line)
    task = asyncio.create_task(_run(shell, line))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        return await task
    except (asyncio.CancelledError, Interrupt):
        shell.tell("interrupted")
        return OK
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _run(shell: Shell, line: str) -> int:
    """Do what a line asks for, tell what went wrong; the exit code that it means."""
    command: Command | None = None
    try:
        command, arguments = parse_line(line)
        await command.run(shell, *arguments)
    except Told as told:
        return _code(told.__cause__, command)
    except (UsageError, Refused, OSError) as error:
        text = error.errmsg if isinstance(error, Refused) else str(error) or "no answer from the server"
        shell.complain(text)
        return _code(error, command)
    return OK


def _code(error: BaseException | None, command: Command | None) -> int:
    match error:
        case UsageError():
            return USAGE
        case TimeoutError():
            return TIMEOUT
        case OSError() | ConnectionLost():
            return NETWORK
        case NotLoggedIn() | TokenExpired():
            return AUTHENTICATION
    return AUTHENTICATION if command and command.name in ("login", "takeover") else REJECTED
