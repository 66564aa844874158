"""The handlers by msgid, and the types of their answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from forkchat.service.peer import Peer
from forkchat.wire.requests import Request

#: The fields of an answer. None means that there is no answer, or that the handler sends it itself,
#: now or later. Refusals are raised.
Fields = dict[str, Any] | None
#: A coroutine holds up the later requests of its peer until it is done.
Answer = Fields | Coroutine[Any, Any, Fields]
Handler = Callable[[Peer, Request], Answer]

#: Each part of the service adds its own handlers.
Registry = dict[int, Handler]
