"""Which channel a conversation's messages are published on; groups' are named as the conversation is."""

from __future__ import annotations

from forkchat.wire.conversation import Conversation


def user_channel(user: int) -> str:
    return f"u{user}"


def channel_of(conv: str, key: Conversation, sender: int) -> str:
    """A group's own channel; of a pair, that of the one it is sent to."""
    return conv if key.group else user_channel(key.other(sender))
