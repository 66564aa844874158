"""Bots, such as the README's. Each account has several lives, until the bot leaves or is killed."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from client.aio.client import Client
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from forkchat.wire.requests import MAX_SEQ
from tests.server import ROOT, Server
from tests.talk import PASSWORD, Modern


class Bot:
    """The account of a bot, and li, a user who talks to it."""

    def __init__(self, server: Server):
        self.port = server.port
        account = Modern(server.port).register()
        self.id, self.name = account.id, account.name
        self.li = Modern(server.port).join_in()

    def tell(self, *texts: str) -> None:
        for text in texts:
            self.li.done(m.ONE_CHAT, toid=self.id, msg=text)

    def run(self, life: Callable[[Client], Awaitable[object]], **options: object) -> None:
        """Log the bot in, and run one life of it, of at most 30 s."""

        async def go() -> None:
            async with Client("127.0.0.1", self.port, **options) as client:  # type: ignore[arg-type]
                await client.login(self.name, PASSWORD, takeover=True)
                await asyncio.wait_for(life(client), 30)

        asyncio.run(go())


def readme_bot(tmp_path: Path, bot: Bot) -> str:
    """Write the README's bot to a file, with this account and address; return the path.

    The bot also prints each message that it has handled.
    """
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for old, new in (
        ('"localhost", 6000', f'"127.0.0.1", {bot.port}'),
        ('"echo-bot", "its password"', f'"{bot.name}", "{PASSWORD}", takeover=True'),
        (
            '"re-{event.conv}-{event.seq}")',
            '"re-{event.conv}-{event.seq}")\n                print(event.text, flush=True)',
        ),
    ):
        assert code.count(old) == 1
        code = code.replace(old, new)
    path = tmp_path / "bot.py"
    path.write_text(code)
    return str(path)


def confirmed(bot: Bot) -> set[str]:
    """Return the messages to the bot that it has confirmed. The bot must not be logged in."""
    account = Modern(bot.port)
    answer = account.done(m.LOGIN, id=bot.id, password=PASSWORD, takeover=True)
    conv = pair_key(bot.id, bot.li.id)
    recv = next((each["recv"] for each in answer["convs"] if each["conv"] == conv), MAX_SEQ)
    account.done(m.LOGINOUT)
    texts, after = set(), 0
    while page := bot.li.done(m.FETCH, conv=conv, after=after)["msgs"]:
        texts |= {each["msg"] for each in page if each["id"] != bot.id and each["seq"] <= recv}
        after = page[-1]["seq"]
    return texts


def answers(bot: Bot) -> Counter[str]:
    """Return the texts that the bot has sent, with the number of stored copies."""
    texts: Counter[str] = Counter()
    after = 0
    while page := bot.li.done(m.FETCH, conv=pair_key(bot.id, bot.li.id), after=after)["msgs"]:
        texts.update(each["msg"] for each in page if each["id"] == bot.id)
        after = page[-1]["seq"]
    return texts


def live_and_die(bot: Bot, path: str, seconds: float) -> list[str]:
    """Run the bot, and kill it `seconds` after its first line of output; return the texts that it handled."""
    process = subprocess.Popen(
        [sys.executable, path], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert process.stdout
    with process, process.stdout:
        first = process.stdout.readline()
        threading.Timer(seconds, process.kill).start()
        return [line.strip() for line in (first, *process.stdout) if line.endswith("\n")]
