"""What a person is told of a database that fails: one line, without statement and without values."""

from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import exc

from gateway.database.errors import DatabaseFailed, database_errors
from gateway.database.transactions import transaction


@pytest.mark.parametrize(
    "error", [exc.TimeoutError("SELECT secret"), sqlite3.OperationalError("database is locked"), OSError(13, "Denied")]
)
def test_an_error_of_the_pool_or_of_the_driver_shows_no_statement(error):
    with pytest.raises(DatabaseFailed, match="keys cannot be used") as failed, database_errors("of keys"):
        raise error
    assert "secret" not in str(failed.value)


def test_a_row_that_breaks_a_rule_is_told_without_what_is_in_it(engine):
    insert = "INSERT INTO tenants (name, plan, created_at, cut_at, changed_at) VALUES ('hush', 'hush', 0, 0, 0)"
    with transaction(engine, "change") as connection:
        connection.exec_driver_sql(insert)
    with (
        pytest.raises(DatabaseFailed, match=r"(?i)unique constraint") as failed,
        database_errors("of keys"),
        transaction(engine, "change") as connection,
    ):
        connection.exec_driver_sql(insert)
    assert "hush" not in str(failed.value)
    assert "\n" not in str(failed.value)
