"""Handlers by msgid, and what they may answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from forkchat.service.peer import Peer
from forkchat.wire.requests import Request

#: A handler answers with the fields of its answer. A coroutine holds up what its peer sent after it.
#: None: it has answered by itself, or will, or there is no answer. Refusals are raised.
Fields = dict[str, Any] | None
Answer = Fields | Coroutine[Any, Any, Fields]
Handler = Callable[[Peer, Request], Answer]

#: Each part of the service puts its own in.
Registry = dict[int, Handler]
