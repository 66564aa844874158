"""Every key and channel in Redis. None of this data is durable: Redis may lose all of it at any moment.

| key | type | lifetime | meaning, writer |
|---|---|---|---|
| `{u57}:session` | string | while logged in | `token lease run`: user 57's session; by its worker |
| `{u57}:left` | string | 5 s | user 57 just logged out and may return: no friend is notified yet |
| `{u57}:told` | string | until the next notification | user 57's friends were notified that 57 is here |
| `lease:H:B:S:G` | string | 6 s, renewed every 2 s | host:boot:slot:generation is alive; by its worker |
| `leases` | set | permanent | every lease that is not cleared up yet |
| `users:LEASE` | set | until cleared up | the users whose presence this lease tracks |
| `reap:LEASE` | string | 6 s, renewed meanwhile | a worker is clearing up this dead lease |
| `born` | string | permanent | `run time`: the time since which this run of Redis has data, by its clock |
| `{u57}:burst` | string | until it is refilled | user 57 logged in with a burst of messages to send |
| `{u57}:changes` | counter | 1 min from the first | groups created and joined, friends added, passwords set |
| `{u57}:begun` | counter | 1 min from the first | one-to-one conversations that user 57 started |
| `{u57}:logins` | counter | 1 min from the first | successful logins |
| `rate:BUCKET` | sorted set | 1 min or 1 h from the last | attempts: logins by password, registrations |

A session is valid while its lease lives and Redis is in the run (`run_id`) in which it was claimed. Sessions
of an earlier run, which a snapshot or a failover brings back, are void. `{…}` is a hash tag, which keeps all
keys of a user in one slot.

| channel | carries |
|---|---|
| `u57` | one-to-one messages to user 57, and personal events of user 57 |
| `g9` | group 9's messages and events |
| `w:LEASE` | a worker's probe of its own subscription |
| `all` | orders to every worker: reconcile, read the epoch again |
"""

LEASES = "leases"
BORN = "born"
ALL = "all"

#: Seconds that a lease lives without a refresh.
LEASE_TTL = 6
#: Seconds between refreshes of a lease: a lease survives a missed refresh.
LEASE_REFRESH = 2.0
#: Seconds after a logout within which the user may return without any notification.
LEFT_TTL = 5
#: Seconds that a worker's claim to clear up a dead lease lives without a renewal.
REAP_TTL = 6


def session(user: int) -> str:
    return f"{{u{user}}}:session"


def left(user: int) -> str:
    return f"{{u{user}}}:left"


def told(user: int) -> str:
    return f"{{u{user}}}:told"


def burst(user: int) -> str:
    return f"{{u{user}}}:burst"


def count(user: int, what: str) -> str:
    """Return the key of the user's counter `what`: `changes`, `begun` or `logins`."""
    return f"{{u{user}}}:{what}"


def lease(name: str) -> str:
    return f"lease:{name}"


def users(lease_name: str) -> str:
    return f"users:{lease_name}"


def reap(lease_name: str) -> str:
    return f"reap:{lease_name}"


def rate(bucket: str) -> str:
    return f"rate:{bucket}"


def user_channel(user: int) -> str:
    return f"u{user}"


def worker_channel(lease_name: str) -> str:
    return f"w:{lease_name}"
