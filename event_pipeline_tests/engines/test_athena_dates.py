"""A query opens only the files that may hold the dates it asks for, and its answer is the same."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event_pipeline.contracts import DAILY_USER_ACTIVITY
from event_pipeline.engines.duckdb.athena import translated
from event_pipeline.engines.duckdb.querier import DuckDBQuerier
from event_pipeline.errors import QueryError
from event_pipeline.lake.tables import Lake
from event_pipeline.partitions import DAY
from event_pipeline_tests.conftest import Lab, receipt
from event_pipeline_tests.lake.test_dates import FIRST, publish

A, B, C = "2026-01-01", "2026-01-02", "2026-01-03"
ALL = ("0001-01-01", "9999-12-31")


@pytest.mark.parametrize(
    ("where", "asked"),
    [
        ("", None),
        (f"WHERE event_date = DATE '{A}'", (A, A)),
        (f"WHERE event_date = date('{A}')", (A, A)),
        (f"WHERE event_date = CAST('{A}' AS DATE)", (A, A)),
        (f"WHERE EVENT_DATE = DATE '{A}' AND user_id = 'u'", (A, A)),
        (f"WHERE (e.event_date = DATE '{A}')", (A, A)),
        (f"WHERE DATE '{A}' <= event_date AND event_date < DATE '{C}'", (A, C)),
        (f"WHERE DATE '{A}' > event_date", (ALL[0], A)),
        (f"WHERE event_date BETWEEN DATE '{A}' AND DATE '{B}'", (A, B)),
        (f"WHERE event_date IN (DATE '{C}', DATE '{A}')", (A, C)),
        (f"WHERE event_date > DATE '{A}' AND (event_date > DATE '{B}' AND user_id = 'u')",
         (B, ALL[1])),
        (f"WHERE event_date = DATE '{A}' AND event_date = DATE '{B}'", (B, A)),
        # What does not limit them, or not surely.
        (f"WHERE event_date = DATE '{A}' OR user_id = 'u'", None),
        (f"WHERE NOT event_date = DATE '{A}'", None),
        (f"WHERE event_date <> DATE '{A}'", None),
        (f"WHERE event_date NOT IN (DATE '{A}')", None),
        (f"WHERE event_date IN (DATE '{A}', DATE(event_ts))", None),
        (f"WHERE event_date IN (SELECT DATE '{A}')", None),
        (f"WHERE event_date + INTERVAL '1' DAY = DATE '{A}'", None),
        (f"WHERE CAST(event_ts AS DATE) = DATE '{A}'", None),
        (f"WHERE date_trunc('month', event_date) = DATE '{A}'", None),
        (f"HAVING max(event_date) = DATE '{A}'", None),
    ],
)  # fmt: skip
def test_which_dates_a_query_asks_for(where: str, asked: tuple[str, str] | None) -> None:
    found = translated(f"SELECT count(*) FROM silver.events e {where}").dates
    assert found.get("silver.events") == asked


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        # Each use of a table counts.
        (
            f"SELECT 1 FROM silver.events WHERE event_date = DATE '{A}' UNION ALL"
            f" SELECT 1 FROM silver.events WHERE event_date = DATE '{C}'",
            {"silver.events": (A, C)},
        ),
        (
            f"SELECT 1 FROM silver.events WHERE event_date = DATE '{A}'"
            " AND user_id IN (SELECT user_id FROM silver.events)",
            {},
        ),
        (
            "WITH e AS (SELECT * FROM silver.events)"
            f" SELECT 1 FROM e WHERE event_date = DATE '{A}'",
            {},
        ),
        (
            f"SELECT 1 FROM silver.events a JOIN silver.event_counts b"
            f" ON a.event_date = b.event_date"
            f" WHERE b.event_date = DATE '{A}'",
            {"silver.event_counts": (A, A)},
        ),
        (
            f"SELECT 1 FROM silver.events a LEFT JOIN silver.event_counts b"
            f" ON b.event_date = DATE '{B}' WHERE a.event_date = DATE '{A}'",
            {"silver.events": (A, A)},
        ),
        # Gold is asked by its partition.
        (
            f"SELECT * FROM gold.daily_user_activity WHERE event_day >= DATE '{A}'",
            {"gold.daily_user_activity": (A, ALL[1])},
        ),
        # A column of the query around it, or of no date.
        (
            f"SELECT 1 FROM silver.events o WHERE EXISTS (SELECT 1 FROM silver.event_counts i"
            f" WHERE o.event_date = DATE '{A}')",
            {},
        ),
        (f"SELECT 1 FROM quarantine.events WHERE arrival_hour = TIMESTAMP '{A} 00:00:00'", {}),
    ],
)
def test_which_dates_each_table_is_asked_for(query: str, asked: dict[str, object]) -> None:
    assert translated(query).dates == asked


def test_a_date_that_is_none_is_an_error_as_before(lab: Lab) -> None:
    publish(lab.lake, FIRST, [FIRST])
    with pytest.raises(QueryError, match="2026-02-30"):
        lab.querier.fetch("SELECT 1 FROM silver.events WHERE event_date = DATE '2026-02-30'")


def test_only_files_that_may_hold_the_dates_are_opened(lab: Lab) -> None:
    """The others are destroyed."""
    for n in range(3):
        path = publish(lab.lake, FIRST + n * DAY, [FIRST + n * DAY])
        if n != 1:
            Path(path).write_bytes(b"not Parquet")
    query = "SELECT count(*) FROM silver.events WHERE event_date = DATE '2026-01-02'"
    assert lab.querier.fetch(query)[1] == [(1,)]


def test_gold_is_opened_by_its_partition(lab: Lab) -> None:
    for n in range(2):
        day = (FIRST + n * DAY).isoformat()
        prefix = lab.lake.new_prefix(DAILY_USER_ACTIVITY, day, "digest")
        row = {"event_day": pa.array([FIRST + n * DAY]), "unique_users": pa.array([1])}
        more = {name: pa.array([1]) for name in ("unique_sessions", "total_events")}
        pq.write_table(pa.table({**row, **more}), f"{prefix}/rows.parquet")
        lab.lake.publish(DAILY_USER_ACTIVITY, day, [f"{prefix}/rows.parquet"], receipt())
        if not n:
            Path(f"{prefix}/rows.parquet").write_bytes(b"not Parquet")
    query = "SELECT unique_users FROM gold.daily_user_activity WHERE event_day > DATE '{}'"
    with pytest.raises(QueryError, match=r"(?i)parquet"):  # the limits are inclusive
        lab.querier.fetch(query.format("2026-01-01"))
    assert lab.querier.fetch(query.replace(">", "=").format("2026-01-02"))[1] == [(1,)]


dates = st.integers(0, 6).map(lambda n: f"DATE '{FIRST + n * DAY}'")
columns = st.sampled_from(["event_date", "e.event_date", "d.event_date", "e.arrival_hour"])
atoms = st.one_of(
    st.builds(
        "{} {} {}".format, columns, st.sampled_from(["=", "<", "<=", ">", ">=", "<>"]), dates
    ),
    st.builds("{} {} {}".format, dates, st.sampled_from(["=", "<", ">="]), columns),
    st.builds("{} BETWEEN {} AND {}".format, columns, dates, dates),
    st.builds("{} IN ({}, {})".format, columns, dates, dates),
    st.builds("{} IS NULL".format, columns),
)
conditions = st.recursive(
    atoms,
    lambda part: st.one_of(
        st.builds("({} AND {})".format, part, part),
        st.builds("({} OR {})".format, part, part),
        st.builds("NOT ({})".format, part),
    ),
    max_leaves=4,
)
queries = st.one_of(
    st.builds("SELECT count(*) FROM silver.events e WHERE {}".format, conditions),
    st.builds(
        "SELECT count(*), count(d.event_date) FROM silver.events e {} JOIN silver.events d"
        " ON e.event_date = d.arrival_hour AND {} WHERE {}".format,
        st.sampled_from(["", "LEFT", "RIGHT", "FULL"]),
        conditions,
        conditions,
    ),
    st.builds(
        "SELECT (SELECT count(*) FROM silver.events e WHERE {} AND e.event_date > d.event_date)"
        " FROM silver.events d WHERE {}".format,
        conditions,
        conditions,
    ),
)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """With dates that are near, late, early, far and null."""
    lake = Lake(root=str(tmp_path_factory.mktemp("lake")))
    distances: list[list[int | None]] = [[0], [1, 0], [2, None, 1], [1, 6], [], [-400, 5], [3]]
    for n, held in enumerate(distances):
        days: list[date | None] = [None if each is None else FIRST + each * DAY for each in held]
        publish(lake, FIRST + n * DAY, days)
    return lake


@settings(max_examples=60, deadline=None)
@given(query=queries)
def test_any_query_answers_the_same_if_it_opens_all_files(lake: Lake, query: str) -> None:
    def answer() -> Any:
        try:
            return sorted(DuckDBQuerier(lake=lake, threads=1).fetch(query)[1])
        except QueryError as error:  # such as an ambiguous column, which is to stay an error
            return str(error)

    pruned = answer()
    with pytest.MonkeyPatch.context() as patch:
        real = Lake.scan
        patch.setattr(Lake, "scan", lambda self, contract, _=None: real(self, contract))
        assert answer() == pruned
