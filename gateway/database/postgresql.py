"""A PostgreSQL database: how it is reached, and what a transaction is there.

- A read sees one state (REPEATABLE READ) and writes nothing. A change waits for the one before it, as with SQLite:
  it holds one advisory lock from its start to its commit, so that what it has read still holds when it writes.
  An addition takes no such lock: rows that depend on no others are written by many gateways at a time.
- A connection that the server closed is noticed when it is taken from the pool, and opened anew.
- A host that is gone is noticed within ten seconds, not after the quarter of an hour that TCP tries by itself. A server
  that accepts and stands still is not: who must not wait for it waits in a thread of its own, with a limit.
"""

from __future__ import annotations

from sqlalchemy import URL, Connection, Engine, create_engine, event

# Any number that other programs in the same database do not lock: the first bytes of "tokenweir".
CHANGES = 0x746F6B656E776569

# What libpq is told unless the URL says otherwise. Seconds, and milliseconds for tcp_user_timeout.
_DEFAULTS = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "application_name": "tokenweir",
}


def postgresql_engine(url: URL, busy_timeout: float) -> Engine:
    """Return the engine of a database; it connects to nothing yet.

    Args:
        url: With the driver psycopg.
        busy_timeout: Seconds to wait for another's change, and for a connection of the pool.
    """
    engine = create_engine(
        url.update_query_dict({**_DEFAULTS, **url.query}),
        pool_timeout=busy_timeout,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
    )
    milliseconds = max(1, round(busy_timeout * 1000))

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("access") == "change":
            connection.exec_driver_sql(
                f"SET LOCAL lock_timeout = {milliseconds}; SELECT pg_advisory_xact_lock({CHANGES})"
            )

    return engine
