"""Benchmark of a store of 10,000 messages and one of 10 million: rates and delays of the same requests."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median

from client.load import roles
from client.load.accounts import Newcomer
from client.load.crew import Crew
from client.load.roles import Account
from client.load.speaker import Play
from forkchat.wire import msgid as m
from forkchat.wire.conversation import pair_key
from tests.bench import history
from tests.bench.accounts import database, make_accounts, make_ring
from tests.bench.figures import Figure, processes
from tests.server import Server
from tests.talk import QUIET

_TURNS, _SECONDS = 5, 4.0
#: Pairs who talk.
#: Messages in flight in each pair.
#: Users who log in one by one.
#: Messages of the page that each of them asks for.
_PAIRS, _IN_FLIGHT, _COMING, _PAGE = 100, 16, 100, 50
_GROUP = 1000
_BODY = '{"name":"user 1","msg":"hello, how are you today?"}'


@dataclass(frozen=True)
class Size:
    """The number of people, each in two pairs and a group, and of messages in each conversation."""

    people: int
    said: int

    @property
    def groups(self) -> int:
        return -(-self.people // _GROUP)

    @property
    def messages(self) -> int:
        return (self.people + self.groups) * self.said


LITTLE, MUCH = Size(200, 50), Size(100_000, 100)


@dataclass
class Town:
    """A server with its users, and the figures measured there. Delays are in milliseconds."""

    server: Server
    accounts: list[Account]
    talk: Figure = field(default_factory=Figure)
    logins: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)

    def turn(self, number: int) -> None:
        """Measure talk, logins and pages once.

        In the large town each turn has other users log in, so that their data was not read before.
        """
        address = "127.0.0.1", self.server.port
        step = len(self.accounts) // _PAIRS
        talkers = [self.accounts[at + n] for at in range(0, len(self.accounts), step) for n in (0, 1)]
        with Crew([roles.pairs(talkers, [address])]) as crew:
            self.talk.measure(crew, Play(_SECONDS, in_flight=_IN_FLIGHT), processes(self.server))
        step = len(self.accounts) // _COMING
        for at in range(number % step, len(self.accounts), step):
            with Newcomer(address) as newcomer:
                account = self.accounts[at]
                self.logins.append(_time(newcomer, m.LOGIN, token=account.token, takeover=True))
                conv = pair_key(account.id, self.accounts[at - 1].id)
                self.pages.append(_time(newcomer, m.FETCH, conv=conv, limit=_PAGE))


def run() -> None:
    with Server("-w", "2", config=QUIET) as one, Server("-w", "2", config=QUIET) as other:
        towns = [_settle(one, LITTLE), _settle(other, MUCH)]
        for number in range(_TURNS):
            for town in towns:
                town.turn(number)
    little, much = towns
    history.report(
        "volume",
        {
            f"durable, 16, of {LITTLE.messages:,} messages": little.talk.summary(None),
            f"durable, 16, of {MUCH.messages:,} messages": much.talk.summary(little.talk),
        },
    )
    history.note(
        "volume, delays",
        {
            "log-in, ms, few messages": median(little.logins),
            "log-in, ms, many messages": median(much.logins),
            "log-in, ratio": median(much.logins) / median(little.logins),
            "first page of history, ms, few messages": median(little.pages),
            "first page of history, ms, many messages": median(much.pages),
            "first page of history, ratio": median(much.pages) / median(little.pages),
        },
    )


def _settle(server: Server, size: Size) -> Town:
    """Fill the store by SQL statements, because sending message by message would take a day."""
    accounts = make_accounts(server, size.people)
    make_ring(server, accounts, 1, size.said)
    first, last = accounts[0].id, accounts[-1].id
    statements = [
        "INSERT INTO conversation (conv, last_seq, touched)"
        f" SELECT CONCAT('g', seq), {size.said}, '2020-01-01' FROM seq_1_to_{size.groups}",
        "INSERT INTO chat_group (id, name, description) SELECT seq, CONCAT('group ', seq), ''"
        f" FROM seq_1_to_{size.groups}",
        "INSERT INTO member (user, conv, recv_seq, read_seq)"
        f" SELECT seq, CONCAT('g', (seq - {first}) DIV {_GROUP} + 1), {size.said}, {size.said}"
        f" FROM seq_{first}_to_{last}",
        # Fill an empty table with checks off, because InnoDB then sorts all rows first.
        "SET SESSION unique_checks = 0, foreign_key_checks = 0",
        "INSERT INTO message (conv, seq, sender, cid, ts, body)"
        " SELECT STRAIGHT_JOIN c.conv, s.seq, m.user, CONCAT(c.conv, '-', s.seq),"
        f" 1700000000000 + s.seq, '{_BODY}'"
        " FROM conversation c JOIN (SELECT conv, MIN(user) AS user FROM member GROUP BY conv) m"
        f" ON m.conv = c.conv JOIN seq_1_to_{size.said} s",
    ]
    with closing(database(server, read_timeout=3600)) as connection, connection.cursor() as cursor:
        for statement in statements:
            began = time.monotonic()
            cursor.execute(statement)
            print(f"{time.monotonic() - began:7.1f} s  {statement.partition(' (')[0][:60]}", flush=True)
        cursor.execute("ANALYZE TABLE user, conversation, member, message")
    return Town(server, accounts)


def _time(newcomer: Newcomer, msgid: int, **fields: object) -> float:
    began = time.perf_counter()
    newcomer.ask(msgid, **fields)
    return (time.perf_counter() - began) * 1000
