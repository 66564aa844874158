"""Publishes that Redis does not confirm.

A worker keeps a limited number of bytes of them. Beyond that, all workers read from MySQL.
"""

from __future__ import annotations

import os
import signal

from forkchat.wire import msgid as m
from tests.server import Server
from tests.talk import UNLIMITED, Modern, elsewhere

_MESSAGES, _TEXT = 2500, "x" * 8000
_CONFIG = f"{UNLIMITED}output = {64 << 20}\n"


def test_more_is_published_than_is_kept() -> None:
    """The recipient's worker reads the dropped messages from the store, in order with the others."""
    with Server("-w", "2", config=_CONFIG) as server:
        li = Modern(server.port).join_in()
        bo = elsewhere(server, li, lambda: Modern(server.port)).join_in()
        redis = server.service("redis-server")
        assert redis
        os.kill(redis, signal.SIGSTOP)
        try:
            rids = [li.say(m.ONE_CHAT, toid=bo.id, msg=f"{n} {_TEXT}", cid=f"c{n}") for n in range(_MESSAGES)]
            assert all(li.answer(rid)["errno"] == 0 for rid in rids)
            server.wait_log(r"router\.overflow", 10.0)
        finally:
            os.kill(redis, signal.SIGCONT)
        heard = [int(bo.push(m.ONE_CHAT)["msg"].split()[0]) for _ in range(_MESSAGES)]
        assert heard == list(range(_MESSAGES))
