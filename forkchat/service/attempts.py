"""Password checks, counted before they are made: any number at once has no more than the limits allow.

MUST hold:
1. A check is counted in all of its buckets before its hash is computed.
2. A right password is not counted, so that a school behind one address can log in. A check that was never
   made (its client has gone, the queue is full) is not counted either.
3. All ways to name an account count as one, and accounts that do not exist are treated as others are.
4. No stranger keeps the owner out: see `_account_buckets`.
5. One account has one check in the queue of hashes at a time: whoever logs in to it again and again with the
   right password, which is not counted, fills the queue for nobody else.
Tokens are not counted here, since they cannot be guessed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from forkchat.errors import RateLimited, Unavailable
from forkchat.runtime import sleep
from forkchat.service.context import Context
from forkchat.service.passwords import verify
from forkchat.service.peer import Peer
from forkchat.wire.names import likely_name

if TYPE_CHECKING:
    from forkchat.bus.rates import Attempt, Bucket
    from forkchat.store import User

_MINUTE, _HOUR = 60, 3600
#: Bits of an IPv6 address that name a line, and a site, which has up to 65,536 of them (RFC 6177).
_LINE, _SITE = 64, 48
#: How many times a line's limit a site has, since providers number the phones of a town out of one: for all
#: that they do, and for guesses at one account.
_ALL, _ONE = 10, 2
#: How often a place of an address is tried for again, and after how many seconds each time. Together they are
#: longer than a full queue of hashes takes.
_RETRIES, _PAUSE = 3, (0.5, 1.5)
#: Seconds before a refusal for want of room is answered. Attempts that are each repeated at once would take
#: more of the processor than the hashing that they cannot have.
_HELD = 0.5, 1.5


def network(host: str, bits: int = _LINE) -> str:
    """The network that counts as one client: an IPv4 address, or an IPv6 address's /64, which one line has.

    What is no address (a Unix socket's peer) counts by its text.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ip_network((address, bits), strict=False))
    return str(address)


@asynccontextmanager
async def unhurried(context: Context) -> AsyncIterator[None]:
    """Delay what is raised when there is no room for an attempt."""
    try:
        yield
    except (RateLimited, Unavailable):
        await sleep(context.loop, random.uniform(*_HELD))
        raise


async def find(context: Context, key: int | str) -> User | None:
    """The account with this id or name. A name is looked for as typed, and as it would be stored."""
    users = context.store.users
    meant = likely_name(key) if isinstance(key, str) else key
    if meant == key:
        return await users.find(key)
    as_typed, as_meant = users.find(key), users.find(meant)
    return await as_typed or await as_meant


async def check(context: Context, peer: Peer, key: int | str, password: str) -> User | None:
    """The account `key`, if `password` is its password; else None.

    Raises RateLimited, and Unavailable when MySQL, Redis or the queue of hashes does not serve.
    """
    user, here = await find(context, key), network(peer.host)
    is_known = await context.store.addresses.is_known(_place(user.id if user else 0, here))
    rates, settings = context.rates, context.config.passwords
    account = _account(key, user)
    attempt = await rates.take(_account_buckets(context, account, peer.host, is_known))
    try:
        at_address = await _take_patiently(context, peer.host)
    except BaseException:
        rates.give_back(attempt)
        raise
    try:
        async with context.checks.of(account):
            verdict = await verify(context.hashing, peer, settings, user and user.password, password)
    except BaseException:  # no verdict: nothing was learned of the password
        rates.give_back(attempt, at_address)
        raise
    if user is None or not verdict.is_right:
        return None
    rates.give_back(attempt, at_address)
    await remember(context, user.id, peer)
    if verdict.rehashed:
        await context.store.users.rehash(user.id, user.password, verdict.rehashed)
        return user._replace(password=verdict.rehashed)
    return user


async def remember(context: Context, user: int, peer: Peer) -> None:
    """Note that the account's owner is at the peer's address."""
    await context.store.addresses.remember(user, _place(user, network(peer.host)))


def address_buckets(context: Context, what: str, host: str, limit: int) -> list[Bucket]:
    """The buckets of an address for a minute: its own, and the larger one of its site."""
    here, site = network(host), network(host, _SITE)
    buckets = [context.rates.bucket(f"{what}@{here}", limit, _MINUTE)]
    if site != here:
        buckets.append(context.rates.bucket(f"{what}@{site}", limit * _ALL, _MINUTE))
    return buckets


def _account_buckets(context: Context, account: str, host: str, is_known: bool) -> list[Bucket]:
    """The buckets of the account, against those who guess its password.

    With an address: hard, since strangers at other addresses do not fill it. Alone: against many addresses
    that try one account. It is slow, and strangers can fill it, so that it spares the addresses that the
    owner has logged in from. One site fills a fifth of it at most: a single stranger closes it to nobody.
    What goes beyond that fifth is held back by the site's own bucket.
    """
    rates, limits = context.rates, context.config.limits
    here, site = network(host), network(host, _SITE)
    buckets = [rates.bucket(f"login:{account}@{here}", limits.login_rate, _MINUTE)]
    if not is_known:
        buckets.append(rates.bucket(f"login:{account}@", limits.login_rate_account, _HOUR, site))
        if site != here:
            buckets.append(rates.bucket(f"login:{account}@{site}", limits.login_rate * _ONE, _MINUTE))
    return buckets


async def _take_patiently(context: Context, host: str) -> Attempt:
    """Take a place of the address, against those who try many accounts.

    Wait for one: where a school logs in at once, the places are taken by right passwords, and come back.
    """
    buckets = address_buckets(context, "login:", host, context.config.limits.login_rate_address)
    for _ in range(_RETRIES):
        try:
            return await context.rates.take(buckets)
        except RateLimited:
            await sleep(context.loop, random.uniform(*_PAUSE))
    return await context.rates.take(buckets)


def _account(key: int | str, user: User | None) -> str:
    if user is not None:
        return f"u{user.id}"
    return f"i{key}" if isinstance(key, int) else f"n{hashlib.sha256(likely_name(key).encode()).hexdigest()}"


def _place(user: int, here: str) -> bytes:
    return hashlib.sha256(f"{user}@{here}".encode()).digest()
