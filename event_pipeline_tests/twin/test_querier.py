"""AthenaQuerier, as the graph uses it, over a table in the twin's catalog."""

import signal
import threading
from collections.abc import Iterator

import pytest

from event_pipeline import aws
from event_pipeline.contracts import EVENTS
from event_pipeline.engines.athena import AthenaQuerier
from event_pipeline.errors import QueryError
from event_pipeline.lake.tables import Lake
from event_pipeline_tests.twin.conftest import LAKE, RESULTS, keys
from event_pipeline_tests.twin.graph import environment
from event_pipeline_tests.twin.server import Twin

COLUMNS = (("event_date", "date"), ("events", "long"), ("revenue", "decimal(38, 2)"))
STATEMENT = (
    "SELECT event_date, CAST(count(*) AS BIGINT) AS events,"
    " CAST(coalesce(sum(revenue), 0) AS DECIMAL(38, 2)) AS revenue"
    " FROM silver.events GROUP BY event_date"
)
WHERE = ("event_date", "2026-01-01")


class Killed(BaseException):
    """What no `except Exception` sees, as kill -9."""


@pytest.fixture
def querier(twin: Twin) -> Iterator[AthenaQuerier]:
    """A querier in a workgroup, over Silver's events, of which there are none."""
    with environment(twin.environment):
        lake = Lake(root=f"s3://{LAKE}", database_prefix="querier")
        athena, glue = aws.client("athena"), aws.client("glue")
        for layer in ("silver", "gold"):
            if f"querier_{layer}" not in [d["Name"] for d in glue.get_databases()["DatabaseList"]]:
                glue.create_database(DatabaseInput={"Name": f"querier_{layer}"})
        if "querier" not in [w["Name"] for w in athena.list_work_groups()["WorkGroups"]]:
            configuration = {"ResultConfiguration": {"OutputLocation": f"s3://{RESULTS}/athena/"}}
            athena.create_work_group(Name="querier", Configuration=configuration)
        lake.table(EVENTS)
        yield AthenaQuerier(
            lake=lake, workgroup="querier", results_bucket=RESULTS, poll_seconds=0.05
        )


def to(request: pytest.FixtureRequest) -> str:
    return f"s3://{LAKE}/gold/{request.node.name}"


def queries() -> int:
    found = aws.client("athena").list_query_executions(WorkGroup="querier")
    return len(found["QueryExecutionIds"])


def state(query: str) -> str:
    answer = aws.client("athena").get_query_execution(QueryExecutionId=query)
    return str(answer["QueryExecution"]["Status"]["State"])


def test_a_query_is_answered_with_its_types(querier: AthenaQuerier) -> None:
    names, rows = querier.fetch(
        "SELECT DATE '2026-01-02' AS day, CAST('1.50' AS DECIMAL(10, 2)) AS amount, count(*) AS n"
        " FROM silver.events"
    )
    assert names == ["day", "amount", "n"]
    assert [list(map(str, row)) for row in rows] == [["2026-01-02", "1.50", "0"]]


def test_a_result_without_rows_is_a_file_without_rows(
    querier: AthenaQuerier, request: pytest.FixtureRequest
) -> None:
    report = querier.unload(STATEMENT, COLUMNS, WHERE, to(request), "v1")
    assert (report.rows, len(report.files)) == (0, 1)
    assert report.run["athena_query"]
    assert querier.lake.count(report.files) == 0
    assert aws.keys(RESULTS, "claims/") == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT nothing FROM silver.events", "nothing"),
        ("SELECT * FROM silver.nothing", "there is no table silver.nothing; there are: gold."),
        ("SELECT 1; SELECT 2", "one SELECT statement"),
    ],
)
def test_what_is_wrong_with_a_query_is_one_line(
    querier: AthenaQuerier, statement: str, said: str
) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        querier.fetch(statement)
    assert "\n" not in str(caught.value)


def test_a_failing_unload_says_why_and_leaves_no_claim(
    querier: AthenaQuerier, request: pytest.FixtureRequest
) -> None:
    with pytest.raises(QueryError, match=r"Athena query .*: FAILED: .*nothing"):
        querier.unload(
            "SELECT nothing AS event_date FROM silver.events",
            (("event_date", "date"),), WHERE, to(request), "v1",
        )  # fmt: skip
    assert aws.keys(RESULTS, "claims/") == []


def test_a_query_that_takes_too_long_is_cancelled(
    querier: AthenaQuerier, twin: Twin, request: pytest.FixtureRequest
) -> None:
    twin.order(query_seconds=30)
    hasty = AthenaQuerier(**{**dict(querier), "timeout_seconds": 0.5})
    for attempt in (
        lambda: hasty.unload(STATEMENT, COLUMNS, WHERE, to(request), "v1"),
        lambda: hasty.fetch(STATEMENT),
    ):
        with pytest.raises(QueryError, match=r"cancelled after 0.5 s") as caught:
            attempt()
        assert state(str(caught.value).split()[2].rstrip(":")) == "CANCELLED"
    assert aws.keys(RESULTS, "claims/") == []


def test_who_is_interrupted_cancels_the_query(
    querier: AthenaQuerier, twin: Twin, request: pytest.FixtureRequest
) -> None:
    twin.order(query_seconds=30)
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        querier.unload(STATEMENT, COLUMNS, WHERE, to(request), "v1")
    found = aws.client("athena").list_query_executions(WorkGroup="querier")["QueryExecutionIds"]
    assert "CANCELLED" in {state(query) for query in found}
    assert aws.keys(RESULTS, "claims/") == []


def test_a_query_whose_worker_was_killed_is_followed(
    querier: AthenaQuerier,
    twin: Twin,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin.order(query_seconds=2)
    before = queries()

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(AthenaQuerier, "_finished", killed)
        with pytest.raises(Killed):
            querier.unload(STATEMENT, COLUMNS, WHERE, f"{to(request)}/first", "v1")
    report = querier.unload(STATEMENT, COLUMNS, WHERE, f"{to(request)}/second", "v1")
    assert queries() == before + 1
    assert all("/first/" in file for file in report.files)
    assert keys(twin, RESULTS, "claims/") == []


def test_a_query_over_older_rows_is_cancelled_and_replaced(
    querier: AthenaQuerier,
    twin: Twin,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twin.order(query_seconds=5)

    def killed(_: AthenaQuerier, query: str) -> None:
        running.append(query)
        raise Killed

    running: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(AthenaQuerier, "_finished", killed)
        with pytest.raises(Killed):
            querier.unload(STATEMENT, COLUMNS, WHERE, f"{to(request)}/first", "v1")
    twin.order(query_seconds=0)
    report = querier.unload(STATEMENT, COLUMNS, WHERE, f"{to(request)}/second", "v2")
    assert state(running[0]) == "CANCELLED"
    assert all("/second/" in file for file in report.files)
