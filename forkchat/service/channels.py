"""The channels on which messages are published. A group's channel has the name of its conversation."""

from __future__ import annotations

from forkchat.wire.conversation import Conversation


def user_channel(user: int) -> str:
    return f"u{user}"


def channel_of(conv: str, key: Conversation, sender: int) -> str:
    """Return the channel of a message: the group's own, or in a pair the recipient's."""
    return conv if key.group else user_channel(key.other(sender))
