"""Password checks, counted before they run, so that concurrent attempts cannot exceed the limits.

MUST hold:
1. A check is counted in all of its buckets before its hash is computed.
2. A correct password is not counted, so that a school that shares one address can log in. A check that never
   ran (its client has gone, the queue is full) is not counted either.
3. All ways to name an account count as one. Accounts that do not exist are treated like existing ones.
4. Strangers cannot lock the owner out: see `_account_buckets`.
5. An account has at most one check in the hash queue at a time. Repeated logins with the correct password,
   which are not counted, could otherwise fill the queue.
Tokens are not counted here, because they cannot be guessed.
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
#: Prefix length, in bits, of a line's IPv6 network.
#: Prefix length, in bits, of a site's IPv6 network, which has up to 65,536 lines (RFC 6177).
_LINE, _SITE = 64, 48
#: Multiple of a line's limit that a site has for all its attempts.
#: Multiple of a line's limit that a site has for guesses at one account.
#: Both exceed 1 because providers number the phones of a town from one site.
_ALL, _ONE = 10, 2
#: Retries for a place in an address's buckets.
#: Seconds before each retry (a random value in this range). All retries outlast a full hash queue.
_RETRIES, _PAUSE = 3, (0.5, 1.5)
#: Seconds before a refusal for lack of room (a random value in this range).
#: Immediate retries would cost more processor time than the hashing that is refused.
_HELD = 0.5, 1.5


def network(host: str, bits: int = _LINE) -> str:
    """Return the network that counts as one client: an IPv4 address, or an IPv6 prefix of `bits` bits.

    The default prefix is a /64, which one line has. A host that is no address (a Unix socket's peer) counts
    by its text.
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
    """Delay RateLimited and Unavailable, which an attempt raises when there is no room for it."""
    try:
        yield
    except (RateLimited, Unavailable):
        await sleep(context.loop, random.uniform(*_HELD))
        raise


async def find(context: Context, key: int | str) -> User | None:
    """Return the account with this id or name, or None.

    A name is looked up both as typed and as it would be stored.
    """
    users = context.store.users
    meant = likely_name(key) if isinstance(key, str) else key
    if meant == key:
        return await users.find(key)
    as_typed, as_meant = users.find(key), users.find(meant)
    return await as_typed or await as_meant


async def check(context: Context, peer: Peer, key: int | str, password: str) -> User | None:
    """Return the account `key` if `password` is its password, else None.

    Raises RateLimited if a limit is reached. Raises Unavailable if MySQL, Redis or the hash queue does not
    serve.
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
    except BaseException:  # no verdict: the client learned nothing about the password
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
    """Record the peer's address as one that the account's owner uses."""
    await context.store.addresses.remember(user, _place(user, network(peer.host)))


def address_buckets(context: Context, what: str, host: str, limit: int) -> list[Bucket]:
    """Return the one-minute buckets of an address: its own, and the larger one of its site."""
    here, site = network(host), network(host, _SITE)
    buckets = [context.rates.bucket(f"{what}@{here}", limit, _MINUTE)]
    if site != here:
        buckets.append(context.rates.bucket(f"{what}@{site}", limit * _ALL, _MINUTE))
    return buckets


def _account_buckets(context: Context, account: str, host: str, is_known: bool) -> list[Bucket]:
    """Return the account's buckets, which limit guesses at its password.

    The bucket of the account at one address is strict, because strangers at other addresses do not fill it.

    The bucket of the account at all addresses limits guesses from many addresses. It empties slowly, and
    strangers can fill it. It therefore spares the addresses from which the owner has logged in. One site
    fills at most a fifth of it, so that no single stranger can lock out other users. The site's own bucket
    limits attempts beyond that fifth.
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
    """Take a place in the address's buckets, which limit one host that tries many accounts.

    Retry for a while if they are full. When a school logs in at once, its correct passwords give their places
    back. Raises RateLimited if the retries fail too.
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
