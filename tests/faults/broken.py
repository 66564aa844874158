"""A server that is broken on purpose, to see that the laws notice.

Run it by `python -m tests.faults.broken FILE FLAGS…`. FILE has the name of the breakage.
"""

from __future__ import annotations

import random
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from forkchat import cli
from forkchat.bus.router import Router
from forkchat.service.reconcile import Reconciler
from forkchat.store import append, schema, writer
from forkchat.store.connection import connect


def publish_before_commit() -> None:
    """Commit each batch only when the next one comes, long after its publishing and acknowledgement."""
    connect = writer.Writer._connect

    class Lazy:
        def __init__(self, connection: Any):
            self._connection = connection

        def cursor(self) -> Any:
            self._connection.commit()
            cursor = self._connection.cursor()
            execute = cursor.execute
            cursor.execute = lambda sql, args=None: execute(_uncommitted(sql), args)
            return cursor

        # Commit when idle, because the transaction would hold its locks for as long as no batch comes.
        def ping(self) -> None:
            self._connection.commit()

        def commit(self) -> None:
            return

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

    writer.Writer._connect = lambda self: Lazy(connect(self))  # type: ignore[method-assign]


def _uncommitted(sql: Any) -> Any:
    return sql.removesuffix("; COMMIT") if isinstance(sql, str) else sql


def drop_a_publish() -> None:
    """Drop three of four publishes."""
    publish = Router.publish_surely

    def sometimes(self: Router, channel: str, payload: bytes) -> None:
        if random.random() > 0.75:
            publish(self, channel, payload)

    Router.publish_surely = sometimes  # type: ignore[method-assign]


def skip_reconciliation() -> None:
    Reconciler.start = lambda self: None  # type: ignore[method-assign]
    Reconciler.everything = lambda self: None  # type: ignore[method-assign]


def forget_the_cid_index() -> None:
    """Store duplicates: skip the lookup by cid, and make the index non-unique. The database stays so."""
    append._sent_before = lambda cursor, drafts: {}
    migrate = schema.migrate

    def without_index(url: str, files: list[schema.File], deadline: float) -> schema.Status:
        status = migrate(url, files, deadline)
        with closing(connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("ALTER TABLE message DROP INDEX resend, ADD INDEX resend (sender, cid)")
        return status

    schema.migrate = without_index


BREAKAGES = {
    each.__name__: each
    for each in (publish_before_commit, drop_a_publish, skip_reconciliation, forget_the_cid_index)
}

if __name__ == "__main__":
    BREAKAGES[Path(sys.argv.pop(1)).read_text()]()
    sys.exit(cli.main())
