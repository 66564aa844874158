"""Answers and errors for modern clients."""

from __future__ import annotations

from typing import Any

from forkchat.errors import Refused
from forkchat.wire import msgid as m
from forkchat.wire.frames import line

Rid = str | int | None


def answer(msgid: int, rid: Rid, fields: dict[str, Any]) -> bytes:
    """Return the answer to a request that succeeded, or b"" for an acknowledgement without a `rid`."""
    kind = m.ANSWERS.get(msgid, m.ACK) or m.ACK
    if kind != m.ACK:
        return line(_head(kind, msgid, rid) | {"errno": 0} | fields)
    return line({"msgid": m.ACK, "rid": rid, "re": msgid, "errno": 0, **fields}) if rid is not None else b""


def refusal(msgid: int, rid: Rid, refused: Refused) -> bytes:
    """Return the answer to a refused request, or an ERROR if the request has no answer of its own.

    `msgid` is 0 if it could not be read.
    """
    fields = {"errno": refused.errno, "code": refused.code, "errmsg": refused.errmsg}
    if refused.retry_after is not None:
        fields["retry_after"] = refused.retry_after
    kind = (m.ANSWERS.get(msgid, m.ACK) or m.ACK) if msgid else m.ERROR
    if kind == m.ACK and rid is None:
        kind = m.ERROR
    return line(_head(kind, msgid, rid) | fields)


def bye(reason: str, retry_after: float | None) -> bytes:
    """Return a BYE. `retry_after` is the time in seconds to stay away; None leaves it out."""
    message: dict[str, Any] = {"msgid": m.BYE, "reason": reason}
    if retry_after is not None:
        message["retry_after"] = round(retry_after, 2)
    return line(message)


PING = line({"msgid": m.PING})


def _head(kind: int, msgid: int, rid: Rid) -> dict[str, Any]:
    """Return the first fields of an answer. `re` names the request if the answer's own msgid does not."""
    head: dict[str, Any] = {"msgid": kind}
    if rid is not None:
        head["rid"] = rid
    if msgid and kind in (m.ACK, m.ERROR):
        head["re"] = msgid
    return head
