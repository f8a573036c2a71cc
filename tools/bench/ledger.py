"""What a year of roll-ups costs to read: ``python -m tools.bench.ledger``.

Fills a database (SQLite in a temporary directory, or ``--database URL`` of an empty one) with the sums of 50 million
requests, 365 days of 200 tenants with 3 keys and 3 models each, and with 100,000 rows that are not in the sums yet.
Then it asks what ``tokenweir usage`` and the rebuilding of budgets ask, five times each, and says the median.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from sqlalchemy import Engine, insert

from gateway.database.opening import open_database
from gateway.database.transactions import transaction
from gateway.ledger.books import Books
from gateway.ledger.rows import Admitted, Answer, Completed, Row, Spent, done_row
from gateway.ledger.statements import merge
from gateway.ledger.tables import usage_days

REQUESTS = 50_000_000
FIRST = date(2025, 1, 1)
MODELS = ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5")
KEYS = 3
TIMES = 5
_BATCH = 5_000
# Seconds from the Unix epoch to FIRST.
_BEGIN = 1_735_689_600.0


def main() -> None:
    """Fill, ask, and say how long each question took."""
    parser = argparse.ArgumentParser(description="What a year of roll-ups costs to read.")
    parser.add_argument("--database", help="URL of an empty database; without it a SQLite file that is removed.")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--recent", type=int, default=100_000, help="Rows that are not in the sums yet.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        engine = open_database(given.database or f"sqlite:///{directory}/tokenweir.db")
        try:
            fill(engine, given.days, given.tenants, given.recent)
            if not given.database:
                print(f"{Path(directory, 'tokenweir.db').stat().st_size / 2**20:.0f} MiB")  # noqa: T201 - a command
            for question, took in ask(Books(engine), given.days).items():
                print(f"{question:<44} {took:7.3f} s")  # noqa: T201 - a command
        finally:
            engine.dispose()


def fill(engine: Engine, days: int, tenants: int, recent: int) -> None:
    """Write the sums, and rows of the last day."""
    chance = random.Random(20250101)  # noqa: S311 - data, not a secret
    each = REQUESTS // (days * tenants * KEYS * len(MODELS)) or 1
    sums: list[dict[str, object]] = []
    for day in _days(days):
        sums += [_sum(chance, day, tenant, key, model, each) for tenant, key in _owners(tenants) for model in MODELS]
        if len(sums) > _BATCH or day == _last(days):
            with transaction(engine, "add") as connection:
                connection.execute(insert(usage_days), sums)
            sums = []
    for start in range(0, recent, _BATCH):
        with transaction(engine, "add") as connection:
            rows = range(start, min(start + _BATCH, recent))
            merge(connection, [_row(chance, number, days, tenants) for number in rows])
    if engine.dialect.name == "postgresql":
        with transaction(engine, "add") as connection:
            connection.exec_driver_sql("ANALYZE")


def ask(books: Books, days: int) -> dict[str, float]:
    """Return the median seconds of each question."""
    first, last = FIRST.isoformat(), _last(days)
    month = last[:8] + "01"
    questions: dict[str, Callable[[], object]] = {
        "usage --by day, all": lambda: books.usage(first, last, "day"),
        "usage --by day, this month": lambda: books.usage(month, last, "day"),
        "usage --by day --tenant, all": lambda: books.usage(first, last, "day", {"tenant": "tenant7"}),
        "usage --by model, all": lambda: books.usage(first, last, "model"),
        "usage --by tenant, all": lambda: books.usage(first, last, "tenant"),
        "usage --by key, all": lambda: books.usage(first, last, "key"),
        "spent, this month (budgets rebuilt)": lambda: books.spent(month, last),
    }
    return {name: statistics.median(_timed(question) for _ in range(TIMES)) for name, question in questions.items()}


def _timed(question: Callable[[], object]) -> float:
    start = time.perf_counter()
    question()
    return time.perf_counter() - start


def _days(days: int) -> Iterator[str]:
    return ((FIRST + timedelta(days=number)).isoformat() for number in range(days))


def _last(days: int) -> str:
    return (FIRST + timedelta(days=days - 1)).isoformat()


def _owners(tenants: int) -> Iterator[tuple[str, str]]:
    for tenant in range(tenants):
        for key in range(KEYS):
            yield f"tenant{tenant}", f"{tenant:06}{key:06}"


def _sum(chance: random.Random, day: str, tenant: str, key: str, model: str, each: int) -> dict[str, object]:
    asked, answered = each * chance.randint(800, 4_000), each * chance.randint(100, 1_000)
    return {
        "day": day,
        "tenant": tenant,
        "key_id": key,
        "end_user": "",
        "model": model,
        "requests": each,
        "input_tokens": asked,
        "output_tokens": answered,
        "thinking_tokens": 0,
        "cache_read_tokens": 4 * asked,
        "cache_write_5m_tokens": asked // 2,
        "cache_write_1h_tokens": 0,
        "web_search_requests": 0,
        "cost_nano_usd": 3_000 * asked + 15_000 * answered,
    }


def _row(chance: random.Random, number: int, days: int, tenants: int) -> Row:
    received = _BEGIN + (days - 1) * 86_400 + number * 0.01
    tenant = chance.randrange(tenants)
    admitted = Admitted(
        request_id=f"{chance.getrandbits(128):032x}",
        tenant=f"tenant{tenant}",
        key_id=f"{tenant:06}{chance.randrange(KEYS):06}",
        end_user="",
        model=chance.choice(MODELS),
        dialect="chat",
        route="/api/chat/stream",
        stream=True,
        received_at=received,
        day=_last(days),
        worker_id="w1",
    )
    spent = Spent(input_tokens=2_000, output_tokens=500, cost_nano_usd=13_500_000)
    answer = Answer("anthropic", 1, f"req_{number}", None, received + 0.4)
    return done_row(admitted, Completed(received + 8, spent, answer, "done", 200, "end_turn"))


if __name__ == "__main__":
    sys.exit(main())
