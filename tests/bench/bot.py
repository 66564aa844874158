"""Benchmark of the README's bot, killed every two seconds while a thousand messages come."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from pathlib import Path

from tests.bench import history
from tests.bots import Bot, answers, confirmed, live_and_die, readme_bot
from tests.server import Server
from tests.talk import QUIET

_MESSAGES, _LIFE = 1000, 2.0


def run() -> None:
    told = [str(number) for number in range(_MESSAGES)]
    handled: Counter[str] = Counter()
    done: set[str] = set()
    lives = again = unseen = 0
    with Server("-w", "2", config=QUIET) as server, tempfile.TemporaryDirectory() as folder:
        bot = Bot(server)
        path = readme_bot(Path(folder), bot)
        talking = threading.Thread(target=bot.tell, args=told)
        talking.start()
        while True:
            if not talking.is_alive():
                done = confirmed(bot)
                unseen += len(done - set(handled))
                if done == set(told):
                    break
            lines = live_and_die(bot, path, _LIFE)
            lives += 1
            again += len(done & set(lines))
            handled.update(lines)
        given = answers(bot)
    history.note(
        "bot",
        {
            "messages": len(told),
            "lives": lives,
            "handled": len(handled),
            "handled more than once": sum(number > 1 for number in handled.values()),
            "confirmed, and handled again": again,
            "confirmed, and never handled": unseen,
            "never answered": sum(f"you said: {text}" not in given for text in told),
            "answered more than once": sum(number > 1 for number in given.values()),
        },
    )
