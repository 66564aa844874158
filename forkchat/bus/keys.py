"""Every key and channel in Redis. Nothing here lasts: Redis may lose all of it at any moment.

| key | type | lifetime | meaning, writer |
|---|---|---|---|
| `{u57}:session` | string | while logged in | `token lease run`: user 57's session; by its worker |
| `{u57}:left` | string | 5 s | they logged out just now and may be back: nobody is told yet |
| `{u57}:told` | string | until told otherwise | their friends were told that they are here |
| `lease:H:B:S:G` | string | 6 s, renewed every 2 s | host:boot:slot:generation lives; by its worker |
| `leases` | set | for ever | every lease that was not cleared up |
| `users:LEASE` | set | until cleared up | the users whose presence this lease answers for |
| `reap:LEASE` | string | 6 s, renewed while it does | a worker is clearing up that dead lease |
| `born` | string | for ever | `run time`: since when this run of Redis knows anything, by its clock |
| `{u57}:burst` | string | until it is whole | they logged in with a burst of messages to send |
| `{u57}:changes` | counter | 1 min from the first | groups made and joined, friends added, passwords |
| `{u57}:begun` | counter | 1 min from the first | conversations with people that they have begun |
| `{u57}:logins` | counter | 1 min from the first | logins, successful ones |
| `rate:BUCKET` | sorted set | 1 min or 1 h from the last | attempts: logins by password, registrations |

A session is valid while its lease lives and Redis is in the run (its `run_id`) in which it was claimed: what
a snapshot or a failover brings back of an earlier run is void. `{…}` is a hash tag: all about a user is in
one slot.

| channel | carries |
|---|---|
| `u57` | one-to-one messages to user 57, and their personal events |
| `g9` | group 9's messages and events |
| `w:LEASE` | a worker's probe of its own subscription |
| `all` | what every worker must do: reconcile, read the epoch anew |
"""

LEASES = "leases"
BORN = "born"
ALL = "all"

#: Seconds: a lease lives without a refresh; between refreshes; a user who left may be back.
LEASE_TTL = 6
LEASE_REFRESH = 2.0
LEFT_TTL = 5
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
    """The counter of `changes`, `begun` or `logins`."""
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
