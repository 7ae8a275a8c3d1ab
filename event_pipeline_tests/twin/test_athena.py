"""Queries: over what, as whom, what they leave, and how they end."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyathena
import pytest
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from event_pipeline.contracts import EVENTS, GOLD
from event_pipeline_tests.conftest import jsonl
from event_pipeline_tests.twin.conftest import ENDED, LAKE, RESULTS, keys
from event_pipeline_tests.twin.query import Query
from event_pipeline_tests.twin.server import Twin

GROUP = "queries"
DAYS = (date(2026, 1, 1), date(2026, 1, 2))
JSON_SERDE = "org.openx.data.jsonserde.JsonSerDe"
FOLDERS = ("year", "month", "day", "hour", "minute")
FOREVER = "SELECT sum(a.range * b.range) AS s FROM UNNEST(sequence(1, 100000)) AS a(range),"
FOREVER += " UNNEST(sequence(1, 100000)) AS b(range), UNNEST(sequence(1, 100000)) AS c(range)"


@pytest.fixture(scope="module", autouse=True)
def tables(session_twin: Twin) -> None:
    """A workgroup, a Silver table of two days in two files, and Bronze as it lies."""
    glue, s3 = session_twin.client("glue"), session_twin.client("s3")
    configuration = {"ResultConfiguration": {"OutputLocation": f"s3://{RESULTS}/athena/"}}
    session_twin.client("athena").create_work_group(Name=GROUP, Configuration=configuration)
    for layer in ("bronze", "silver"):
        glue.create_database(DatabaseInput={"Name": f"shop_{layer}"})
    schema = Schema(
        *(NestedField(n, c.name, c.type, required=False) for n, c in enumerate(EVENTS.columns, 1))
    )
    table = _catalog(session_twin).create_table(
        ("shop_silver", "events"), schema, location=f"s3://{LAKE}/silver/events"
    )
    for day in DAYS:
        table.append(pa.Table.from_pylist(list(_events(day)), schema=table.schema().as_arrow()))
    glue.create_table(DatabaseName="shop_bronze", TableInput=_bronze())
    for hour in ("10", "11"):
        folder = f"bronze/events/year=2026/month=01/day=02/hour={hour}/minute=05"
        data = jsonl(['{"timestamp": "x", "price": 1.25}', "bad", '{"user_id": null}'])
        s3.put_object(Bucket=LAKE, Key=f"{folder}/events.jsonl.gz", Body=data)
        s3.put_object(Bucket=LAKE, Key=f"{folder}/_ignored.jsonl.gz", Body=data)


def _catalog(twin: Twin) -> GlueCatalog:
    properties = {"endpoint": twin.endpoint, "region": "us-east-1", "access-key-id": "test"}
    properties["secret-access-key"] = "test"
    both: dict[str, Any] = {f"{of}.{k}": v for of in ("glue", "s3") for k, v in properties.items()}
    return GlueCatalog("lake", **both)


def _events(day: date) -> Iterator[dict[str, Any]]:
    for n in range(4000):
        kind = ("page_view", "add_to_cart", "purchase", "search")[n % 4]
        bought = kind == "purchase"
        yield {
            "event_ts": datetime(day.year, day.month, day.day, n % 24),
            "event_date": day,
            "user_id": f"u{n % 50}",
            "session_id": f"s{n % 100}",
            "event_type": kind,
            "product_id": None if kind == "search" else f"p{n % 12}",
            "category": "c",
            "quantity": 2 if bought else None,
            "price": Decimal("1.25") if bought else None,
            "revenue": Decimal("2.50") if bought else None,
            "search_query": hashlib.sha256(f"{day} {n}".encode()).hexdigest(),
            "arrival_hour": datetime(day.year, day.month, day.day),
        }


def _bronze() -> dict[str, Any]:
    return {
        "Name": "events",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"classification": "json", "projection.enabled": "true"},
        "PartitionKeys": [{"Name": name, "Type": "string"} for name in FOLDERS],
        "StorageDescriptor": {
            "Location": f"s3://{LAKE}/bronze/events/",
            "SerdeInfo": {"SerializationLibrary": JSON_SERDE},
            "Columns": [{"Name": name, "Type": "string"} for name in EVENTS.source],
        },
    }


def _start(twin: Twin, sql: str, **more: Any) -> str:
    athena = twin.client("athena")
    answer = athena.start_query_execution(QueryString=sql, WorkGroup=GROUP, **more)
    return str(answer["QueryExecutionId"])


def _execution(twin: Twin, query_id: str) -> dict[str, Any]:
    found = twin.client("athena").get_query_execution(QueryExecutionId=query_id)
    execution: dict[str, Any] = found["QueryExecution"]
    return execution


def _run(twin: Twin, sql: str, **more: Any) -> dict[str, Any]:
    """A query when it has ended."""
    query_id = _start(twin, sql, **more)
    while True:
        found = _execution(twin, query_id)
        if found["Status"]["State"] in ENDED:
            return found
        time.sleep(0.01)


def _rows(twin: Twin, sql: str, **more: Any) -> list[list[str | None]]:
    """Names and rows of a query that succeeds."""
    found = _run(twin, sql, **more)
    assert found["Status"]["State"] == "SUCCEEDED", found["Status"]
    answer = twin.client("athena").get_query_results(QueryExecutionId=found["QueryExecutionId"])
    rows = answer["ResultSet"]["Rows"]
    return [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows]


def _unload(select: str, to: str) -> str:
    options = "format = 'PARQUET', compression = 'ZSTD'"
    return f"UNLOAD ({select}) TO 's3://{LAKE}/{to}' WITH ({options})"


def _read(twin: Twin, names: Sequence[str]) -> pa.Table:
    s3 = twin.client("s3")
    bodies = [s3.get_object(Bucket=LAKE, Key=name)["Body"].read() for name in names]
    return pa.concat_tables(pq.read_table(pa.BufferReader(body)) for body in bodies)


def test_a_table_of_the_catalog_is_read(twin: Twin) -> None:
    sql = "SELECT count(*) AS n, sum(revenue) AS r, max(event_ts), count(DISTINCT user_id) AS u"
    expected = [["n", "r", "_col2", "u"], ["8000", "5000.00", "2026-01-02 23:00:00.000", "50"]]
    assert _rows(twin, f"{sql} FROM shop_silver.events") == expected
    context = {"Database": "shop_silver"}
    assert _rows(twin, f"{sql} FROM events", QueryExecutionContext=context) == expected


def test_only_what_a_query_needs_is_scanned(twin: Twin) -> None:
    whole = _run(twin, "SELECT * FROM shop_silver.events")["Statistics"]["DataScannedInBytes"]
    stored = sum(
        each["Size"]
        for each in twin.client("s3").list_objects_v2(Bucket=LAKE, Prefix="silver/events/data/")[
            "Contents"
        ]
    )
    grouped = "SELECT event_date, count(*) AS n FROM shop_silver.events GROUP BY event_date"
    part = _run(twin, f"SELECT n FROM ({grouped}) WHERE event_date = DATE '2026-01-01'")
    assert 0 < 2 * part["Statistics"]["DataScannedInBytes"] < whole <= stored
    assert part["Statistics"]["EngineExecutionTimeInMillis"] > 0


@pytest.mark.parametrize(
    "contract", [c for c in GOLD if c.dialect == "athena"], ids=lambda contract: contract.asset
)
def test_every_gold_statement_is_unloaded(twin: Twin, contract: Any) -> None:
    sql = contract.sql.replace("silver.events", "shop_silver.events")
    select = f"SELECT * FROM ({sql}) WHERE {contract.partition} = DATE '2026-01-02'"
    found = _run(twin, f"-- why\n{_unload(select, f'{contract.asset}/run')}")
    assert found["Status"]["State"] == "SUCCEEDED", found["Status"]
    assert found["SubstatementType"] == "UNLOAD"
    files = keys(twin, LAKE, f"{contract.asset}/run/")
    rows = _read(twin, files)
    assert set(rows[contract.partition].to_pylist()) == {DAYS[1]}
    assert tuple(rows.column_names) == contract.column_names
    bucket, _, key = (
        found["Statistics"]["DataManifestLocation"].removeprefix("s3://").partition("/")
    )
    manifest = twin.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert sorted(manifest.splitlines()) == [f"s3://{LAKE}/{name}" for name in files]


def test_several_files_are_written_of_several_rows_and_none_of_none(twin: Twin) -> None:
    select = "SELECT user_id FROM shop_silver.events"
    _run(twin, _unload(select, "several/"))
    _run(twin, _unload(f"{select} WHERE user_id = 'nobody'", "none/"))
    assert len(keys(twin, LAKE, "several/")) == 2
    assert keys(twin, LAKE, "none/") == []


def test_nothing_is_unloaded_where_something_is(twin: Twin) -> None:
    twin.client("s3").put_object(Bucket=LAKE, Key="full/x")
    found = _run(twin, _unload("SELECT 1 AS x", "full/"))
    assert found["Status"]["State"] == "FAILED"
    assert "HIVE_PATH_ALREADY_EXISTS" in found["Status"]["StateChangeReason"]
    assert keys(twin, LAKE, "full/") == ["full/x"]


def test_bronze_is_read_as_it_lies(twin: Twin) -> None:
    sql = "SELECT timestamp, price, user_id, hour, minute FROM shop_bronze.events"
    head, *rows = _rows(twin, f"{sql} WHERE month = '01' AND hour = '11'")
    assert head == ["timestamp", "price", "user_id", "hour", "minute"]
    assert sorted(rows, key=str) == [
        ["x", "1.25", None, "11", "05"],
        [None, None, None, "11", "05"],
        [None, None, None, "11", "05"],
    ]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT nothing FROM shop_silver.events", "SYNTAX_ERROR: .*nothing"),
        ("SELECT 1 FROM shop_silver.nowhere", "TABLE_NOT_FOUND: .*shop_silver.nowhere"),
        ("SELEC 1", "SYNTAX_ERROR"),
        ("SELECT CAST('x' AS INTEGER)", "GENERIC_INTERNAL_ERROR: Conversion"),
        # What ministack by itself calls a success.
        ("CREATE VIEW v AS SELECT 1 AS x", "NOT_SUPPORTED"),
        ("CREATE TABLE t AS SELECT 1 AS x", "NOT_SUPPORTED"),
        (_unload("SELECT current_timestamp AS x", "zoned/"), "timestamp with time zone"),
    ],
)
def test_a_bad_statement_has_a_reason(twin: Twin, sql: str, reason: str) -> None:
    status = _run(twin, sql)["Status"]
    assert status["State"] == "FAILED"
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(status["StateChangeReason"])


@pytest.mark.parametrize("seconds", [60, 0])
def test_a_query_is_stopped_whatever_it_does(twin: Twin, seconds: int) -> None:
    twin.order(query_seconds=seconds)
    query_id = _start(twin, _unload(FOREVER, f"stopped{seconds}/"))
    while _execution(twin, query_id)["Status"]["State"] != "RUNNING":
        time.sleep(0.01)
    time.sleep(0.5)
    began = time.monotonic()
    twin.client("athena").stop_query_execution(QueryExecutionId=query_id)
    status = _execution(twin, query_id)["Status"]
    assert (status["State"], time.monotonic() - began < 1) == ("CANCELLED", True)
    time.sleep(0.5)
    assert _execution(twin, query_id)["Status"] == status
    assert keys(twin, LAKE, f"stopped{seconds}/") == []


def test_a_token_stands_for_one_query(twin: Twin) -> None:
    token = "t" * 32
    first = _start(twin, "SELECT 1 AS x", ClientRequestToken=token)
    assert _start(twin, "SELECT 1 AS x", ClientRequestToken=token) == first
    athena = twin.client("athena")
    with pytest.raises(athena.exceptions.InvalidRequestException, match="Idempotent"):
        _start(twin, "SELECT 2 AS x", ClientRequestToken=token)


def test_pyathena_sees_what_it_expects(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in twin.environment.items():
        monkeypatch.setenv(name, value)
    with pyathena.connect(work_group=GROUP, poll_interval=0.02).cursor() as cursor:
        cursor.execute("SELECT 1 AS a, DATE '2026-01-01' AS d, CAST(1.5 AS DECIMAL(9, 2)) AS x")
        assert cursor.fetchall() == [(1, date(2026, 1, 1), Decimal("1.50"))]
        assert (cursor.output_location or "").startswith(f"s3://{RESULTS}/athena/")
        cursor.execute(_unload("SELECT 1 AS x", "pyathena/"))
        assert cursor.data_manifest_location
        with pytest.raises(pyathena.Error, match="nothing"):
            cursor.execute("SELECT nothing")


def test_a_query_ends_at_its_workgroups_limit() -> None:
    record: dict[str, Any] = {"Status": {"State": "RUNNING"}, "Statistics": {}}
    query = Query(record, s3=None, glue=None, properties={}, cutoff=250)
    for path in ("a", "a", "b"):
        query.scan(path, read=80, size=120)
        assert record["Status"]["State"] == "RUNNING"
    query.scan("c", read=80, size=120)
    assert record["Status"]["State"] == "CANCELLED"
    assert record["Statistics"] == {"DataScannedInBytes": 280}


def test_results_are_kept_as_the_workgroup_says(twin: Twin) -> None:
    elsewhere = {"OutputLocation": f"s3://{LAKE}/elsewhere/"}
    found = _run(twin, "SELECT 1 AS x", ResultConfiguration=elsewhere)
    name = f"athena/{found['QueryExecutionId']}.csv"
    assert found["ResultConfiguration"]["OutputLocation"] == f"s3://{RESULTS}/{name}"
    body = twin.client("s3").get_object(Bucket=RESULTS, Key=name)["Body"].read()
    assert body == b'"x"\r\n"1"\r\n'
    assert found["Status"]["SubmissionDateTime"] <= datetime.now(UTC)
