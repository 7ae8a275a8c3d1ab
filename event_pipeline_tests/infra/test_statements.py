"""Every statement that Athena gets is Trino's SQL, by its grammar, functions and types.

What a statement answers is another matter: see `parity`.
"""

from collections.abc import Iterator
from typing import Any, cast

import pytest
import sqlglot
from trino_sql_validator import validate

from event_pipeline.build import totals as reconciliation
from event_pipeline.contracts import GOLD, TABLES, Contract, MadeContract
from event_pipeline.engines import Querier
from event_pipeline.engines.athena import AthenaQuerier
from event_pipeline.lake.tables import Lake
from event_pipeline_tests.infra.template import Stack

DAY = "2026-01-01"
BY_ATHENA = [contract for contract in GOLD if contract.dialect == "athena"]
QUERIER = AthenaQuerier(
    lake=Lake(root="s3://lake", database_prefix="event_pipeline"),
    workgroup="event_pipeline",
    results_bucket="results",
)
NAMED = {q["Name"]: q["QueryString"] for q in Stack().of_type("Athena::NamedQuery").values()}


class Listener:
    """A querier that keeps what it is asked and answers nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fetch(self, statement: str, day: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Keeps the statement."""
        assert day == DAY
        self.asked.append(statement)
        return [], []


def reconciliations() -> Iterator[Any]:
    """Silver's aggregates with which each Gold table must agree."""
    for contract in GOLD:
        listener = Listener()
        for (of, by), totals in reconciliation.grouped(contract).items():
            reconciliation.sums_of_silver(of, by, totals, DAY, cast(Querier, listener))
        for n, statement in enumerate(listener.asked):
            yield pytest.param(statement, id=f"{contract.table}-{n}")


def complaints(statement: str) -> list[object]:
    """What the validator has against a statement; functions and types that Trino lacks, too."""
    found = validate(statement)
    errors: list[object] = [found.error] if found.error else []
    return errors + list(found.warnings)


@pytest.mark.parametrize("contract", BY_ATHENA, ids=lambda c: c.table)
def test_what_makes_gold(contract: MadeContract) -> None:
    statement = QUERIER.unload_sql(
        contract.sql, contract.typed_columns, (contract.partition, DAY), "s3://lake/gold/run"
    )
    assert "FROM event_pipeline_silver.events" in statement
    assert complaints(statement) == []


@pytest.mark.parametrize("contract", BY_ATHENA, ids=lambda c: c.table)
def test_what_people_find_in_the_console(contract: MadeContract) -> None:
    statement = NAMED[contract.identifier[1]]
    assert complaints(statement) == []
    # The same statement as the pipeline's own.
    parsed = sqlglot.parse_one(statement, read="athena")
    assert parsed.sql(dialect="athena") == QUERIER.sql(contract.sql)


@pytest.mark.parametrize("statement", list(reconciliations()))
def test_what_gold_must_agree_with(statement: str) -> None:
    found = QUERIER.sql(statement)
    assert " FROM event_pipeline_silver." in found
    assert complaints(found) == []


@pytest.mark.parametrize("contract", TABLES.values(), ids=lambda c: c.table)
def test_what_shows_a_table(contract: Contract) -> None:
    assert complaints(QUERIER.sql(contract.select_all)) == []


def test_every_gold_table_is_reconciled() -> None:
    found = {str(each.id).rpartition("-")[0] for each in reconciliations()}
    assert found == {contract.table for contract in GOLD}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT x FROM t QUALIFY row_number() OVER (ORDER BY x) = 1",
        "SELECT `x` FROM t",
        "SELECT x::int FROM t",
        "SELECT sum(x, y) FROM t",
        "SELECT strptime(x, '%Y') FROM t",
        "SELECT CAST(x AS STRING) FROM t",
        "UNLOAD (SELECT x FROM) TO 's3://lake/x/' WITH (format = 'PARQUET')",
        "UNLOAD (SELECT strptime(x, '%Y') FROM t) TO 's3://lake/x/' WITH (format = 'PARQUET')",
        "UNLOAD (SELECT x FROM t) TO s3://lake/x/ WITH (format = 'PARQUET')",
    ],
)
def test_what_is_not_trinos_is_complained_of(statement: str) -> None:
    assert complaints(statement) != []
