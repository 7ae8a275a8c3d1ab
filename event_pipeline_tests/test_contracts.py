"""The contracts: one statement of each table, which writer, catalog and statement share."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.schema import Schema

from event_pipeline.contracts import (
    CATEGORY_PERFORMANCE,
    COMMERCE_ORDERS,
    COMMERCE_USERS,
    EVENTS,
    GOLD,
    HOURLY_REVENUE,
    SILVER,
    TABLES,
    TOP_PRODUCTS,
    USER_ACTIVITY,
    Bronze,
    Column,
    Contract,
    MadeContract,
    SilverContract,
    Total,
    feeds,
)
from event_pipeline.contracts import contract as contract_module
from event_pipeline.contracts.clickstream import EVENT_COUNTS, EVENT_VISITORS
from event_pipeline.contracts.columns import PLAIN_TYPES, is_type
from event_pipeline.contracts.consistency import check_contracts
from event_pipeline.contracts.statements import check_statement
from event_pipeline.errors import ContractError
from event_pipeline_tests.conftest import Lab

# SOURCES.md, the five queries: ours keep their columns in order, further ones may follow.
THEIRS = {
    "gold.conversion_funnel": (
        "product_id views adds purchases"
        " view_to_add_rate add_to_purchase_rate view_to_purchase_rate"
    ),
    "gold.hourly_revenue": "year month day hour total_revenue units_sold purchase_events",
    "gold.top_products": "product_id category view_count",
    "gold.category_performance": (
        "event_day category total_events page_views adds removes purchases searches"
    ),
    "gold.daily_user_activity": "event_day unique_users unique_sessions total_events",
    "gold.user_activity": "user_id country total_events total_orders revenue",
}


@pytest.mark.parametrize("table", THEIRS)
def test_gold_has_the_sources_columns_in_order(table: str) -> None:
    theirs = THEIRS[table].split()
    assert list(TABLES[table].column_names[: len(theirs)]) == theirs


@pytest.mark.parametrize("contract", TABLES.values(), ids=lambda c: c.table)
def test_the_catalog_has_the_contracts_columns_and_partition(lab: Lab, contract: Contract) -> None:
    table = lab.lake.table(contract)
    schema: Schema = table.schema()
    found = [(f.name, str(f.field_type), f.doc) for f in schema.fields]
    assert found == [(c.name, c.type, c.description) for c in contract.columns]
    assert [field.name for field in table.spec().fields] == [contract.partition]


@pytest.mark.parametrize("contract", [*SILVER, *GOLD], ids=lambda c: c.table)
def test_each_statement_fits_its_contract(contract: MadeContract) -> None:
    check_statement(contract)


def test_another_contract_or_statement_is_another_version() -> None:
    assert replace(EVENTS, personal=()).version == EVENTS.version
    others = [
        replace(EVENTS, columns=EVENTS.columns[1:], order_by="user_id"),
        replace(EVENTS, source=EVENTS.source[:-1]),
        replace(EVENTS, rules={}),
        replace(EVENTS, statement=HOURLY_REVENUE.statement),
        replace(EVENTS, partition="event_date"),
    ]
    assert len({EVENTS.version, *(other.version for other in others)}) == 6


def test_a_contract_that_is_the_same_has_the_version_of_the_lakes_that_it_made() -> None:
    # Another one, and every lake of theirs is stale: only a changed statement may do that.
    assert (EVENTS.version, HOURLY_REVENUE.version) == ("7f9517923103", "cb2fb6b2aad4")


def renamed(columns: tuple[Column, ...], **kinds: str) -> tuple[Column, ...]:
    """Columns, some of them of another type."""
    return tuple(replace(c, type=kinds.get(c.name, c.type)) for c in columns)


TWICE = (*EVENTS.columns, Column("user_id", "string", "Again."))
NAMELESS = (*EVENTS.columns, Column("User", "string", "In upper case."))
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "personal": (
        lambda: replace(EVENTS, personal=("email",)),
        "contract silver/events: personal 'email': is not a column; choose from event_ts, ",
    ),
    "layer": (
        lambda: replace(EVENTS, asset="trusted/x"),
        "contract trusted/x: asset 'trusted/x': a SilverContract must be named silver/<name>",
    ),
    "layer-of-gold": (
        lambda: replace(HOURLY_REVENUE, asset="silver/hourly_revenue"),
        "a GoldContract must be named gold/<name>",
    ),
    "name": (lambda: replace(EVENTS, asset="silver/My Events"), "must be named silver/<name>"),
    "no-columns": (lambda: replace(EVENTS, columns=()), "columns: must not be empty"),
    "column-twice": (
        lambda: replace(EVENTS, columns=TWICE),
        "contract silver/events: columns 'user_id': is named twice",
    ),
    "column-name": (lambda: replace(EVENTS, columns=NAMELESS), "columns 'User': must be lower"),
    "type": (
        lambda: replace(EVENTS, columns=renamed(EVENTS.columns, quantity="integer")),
        "columns 'quantity': there is no type 'integer'; string, int, long, double, date,"
        " timestamp or decimal(p, s)",
    ),
    "decimal": (
        lambda: replace(EVENTS, columns=renamed(EVENTS.columns, price="decimal(39, 2)")),
        "there is no type 'decimal(39, 2)'",
    ),
    "partition": (
        lambda: replace(EVENTS, partition="arival_hour"),
        "contract silver/events: partition 'arival_hour': is not a column; choose from event_ts,",
    ),
    "partition-type": (
        lambda: replace(EVENTS, partition="user_id"),
        "partition 'user_id': is a string, but must be a timestamp or date",
    ),
    "gold-by-hour": (
        lambda: replace(
            HOURLY_REVENUE, columns=renamed(HOURLY_REVENUE.columns, event_date="timestamp")
        ),
        "partition 'event_date': is a timestamp, but must be a date",
    ),
    "order": (
        lambda: replace(EVENTS, order_by="event_ts, usr_id DESC"),
        "order_by 'usr_id': is not a column",
    ),
    "order-direction": (
        lambda: replace(EVENTS, order_by="event_ts DOWN"),
        "order_by 'event_ts DOWN': must be a column, with ASC or DESC",
    ),
    "statement": (
        lambda: replace(EVENTS, statement="silver/evnts.sql"),
        "statement 'silver/evnts.sql': there is no file",
    ),
    "no-source": (lambda: replace(EVENTS, source=(), rules={}), "source: must name the fields"),
    "source-twice": (
        lambda: replace(EVENTS, source=(*EVENTS.source, "USER_ID")),
        "source 'user_id': is named twice",
    ),
    "source-name": (
        lambda: replace(EVENTS, source=(*EVENTS.source, "user.id")),
        "source 'user.id': must be letters, digits and _",
    ),
    "date": (lambda: replace(EVENTS, date="event_dat"), "date 'event_dat': is not a column"),
    "date-type": (
        lambda: replace(EVENTS, date="event_ts"),
        "date 'event_ts': is a timestamp, but must be a date",
    ),
    "key": (
        lambda: replace(COMMERCE_USERS, key=("usr_id",)),
        "contract silver/commerce_users: key 'usr_id': is not a column",
    ),
    "key-of-no-field": (
        lambda: replace(COMMERCE_USERS, key=("drop_date",)),
        "key 'drop_date': is not a field of source; choose from user_id,",
    ),
    "latest": (
        lambda: replace(COMMERCE_USERS, latest="signup"),
        "latest 'signup': is not a column",
    ),
    "key-without-latest": (
        lambda: replace(COMMERCE_USERS, latest=""),
        "key: has no effect without latest",
    ),
    "latest-without-key": (
        lambda: replace(EVENTS, latest="event_ts"),
        "latest: has no effect without key",
    ),
    "rule-of-an-engine": (
        lambda: replace(EVENTS, rules={**EVENTS.rules, "conflict": "Mine."}),
        "rules 'conflict': is reserved for the engines",
    ),
    "rule-of-no-field": (
        lambda: replace(EVENTS, rules={**EVENTS.rules, "usr_id_missing": "No user."}),
        "rules 'usr_id_missing': 'usr_id': is not a field of source",
    ),
    "bronze-asset": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, asset="raw/events")),
        "contract silver/events: bronze.asset 'raw/events': must be bronze/<name>",
    ),
    "bronze-prefix": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, prefix="bronze/events")),
        "bronze.prefix 'bronze/events': must be folders, each ending with /",
    ),
    "bronze-own": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, prefix="bronze/_loads/")),
        "bronze.prefix 'bronze/_loads/': is reserved for the pipeline's own objects",
    ),
    "bronze-among-tables": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, prefix="silver/events/")),
        "bronze.prefix 'silver/events/': is reserved for the pipeline's own objects",
    ),
    "layout": (
        lambda: replace(EVENTS, bronze=replace(feeds.FIREHOSE, layout="{yyyy}/{MM}/{dd}/")),
        "bronze.layout '{yyyy}/{MM}/{dd}/': must name the hour, by {HH}",
    ),
    "uploads-by-hour": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, uploaded=True)),
        "bronze.uploaded: only a daily table can have uploaded files",
    ),
    "mapping": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, mapping="feeds/none.sql")),
        "bronze.mapping 'feeds/none.sql': there is no file",
    ),
    "produced-elsewhere": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, prefix="bronze/clicks/")),
        "bronze.produced: the producer writes only to bronze/events/",
    ),
    "root": (
        lambda: replace(EVENTS, bronze=replace(feeds.FIREHOSE, root="s3://bucket/logs")),
        "bronze.root 's3://bucket/logs': must be s3://bucket, or a folder from / on",
    ),
    "each-without-mapping": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, each="items")),
        "bronze.each: needs a mapping",
    ),
    "bronze-names": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, names="events-(")),
        "bronze.names 'events-(': is not a regular expression: missing )",
    ),
    "bronze-expected": (
        lambda: replace(EVENTS, bronze=replace(EVENTS.bronze, expected="events.json")),
        "bronze.expected 'events.json': does not match names",
    ),
    "dialect": (
        lambda: replace(HOURLY_REVENUE, dialect="trino"),  # type: ignore[arg-type]
        "dialect 'trino': must be spark or athena",
    ),
    "no-inputs": (lambda: replace(HOURLY_REVENUE, inputs=()), "inputs: must name the Silver"),
    "gold-input": (
        lambda: replace(HOURLY_REVENUE, inputs=(TOP_PRODUCTS,)),  # type: ignore[arg-type]
        "inputs: gold.top_products is not a Silver table",
    ),
    "input-twice": (
        lambda: replace(HOURLY_REVENUE, inputs=(EVENTS, EVENTS)),
        "inputs 'silver.events': is named twice",
    ),
    "chart": (
        lambda: replace(HOURLY_REVENUE, chart=("hours", "total_revenue")),
        "chart 'hours': is not a column",
    ),
    "chart-of-text": (
        lambda: replace(TOP_PRODUCTS, chart=("product_id", "category")),
        "chart 'category': its value must be a number",
    ),
    "unattributed": (
        lambda: replace(USER_ACTIVITY, unattributed="usr"),
        "unattributed 'usr': is not a column",
    ),
    "total": (
        lambda: replace(HOURLY_REVENUE, totals=(Total("revenue", "sum(revenue)"),)),
        "totals.column 'revenue': is not a column",
    ),
    "total-of-text": (
        lambda: replace(TOP_PRODUCTS, totals=(Total("category", "count(*)"),)),
        "totals.column 'category': must be a number",
    ),
    "total-of-another": (
        lambda: replace(HOURLY_REVENUE, totals=(Total("hour", "count(*)", COMMERCE_USERS),)),
        "totals.of silver.commerce_users: is not one of inputs: silver.events",
    ),
    "total-by": (
        lambda: replace(
            USER_ACTIVITY, totals=(Total("users", "count(*)", COMMERCE_USERS, by="currency"),)
        ),
        "totals.by 'currency': is not in silver.commerce_users",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_contract_is_one_line_that_says_what_it_may_be(
    make: Callable[[], object], said: str
) -> None:
    with pytest.raises(ContractError) as error:
        make()
    message = str(error.value)
    assert said in message
    assert "\n" not in message
    # And where it was made: here.
    assert f"{Path(__file__).name}:" in message


@pytest.mark.parametrize("kind", [*PLAIN_TYPES, "decimal(38, 38)", "decimal(1, 0)"])
def test_a_type_that_every_engine_knows(kind: str) -> None:
    assert is_type(kind)


@pytest.mark.parametrize(
    "kind", ["", "text", "String", "decimal", "decimal(0, 0)", "decimal(5, 6)", "decimal(9,2)"]
)
def test_a_type_that_some_engine_does_not_know(kind: str) -> None:
    assert not is_type(kind)


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes a statement; the name by which a contract has it."""

    def written(text: str) -> str:
        (tmp_path / "mine.sql").write_text(text)
        return "mine.sql"

    monkeypatch.setattr(contract_module, "SQL", tmp_path)
    return written


MINE = SilverContract(
    asset="silver/mine",
    description="For these tests.",
    bronze=Bronze("bronze/mine", "bronze/mine/", r"mine\.jsonl", "mine.jsonl"),
    source=("id", "at"),
    columns=(
        Column("id", "string", "An id."),
        Column("day", "date", "A day."),
        Column("hour", "timestamp", "Hour of arrival."),
    ),
    partition="hour",
    date="day",
    rules={"id_missing": "No id.", "at_invalid": "No time."},
    order_by="id",
    statement="silver/events.sql",
)
GOOD = """
    WITH typed AS (SELECT id, try_cast(at AS DATE) AS day FROM raw)
    SELECT id, day, concat_ws(
      ',',
      CASE WHEN id IS NULL THEN 'id_missing' END,
      if(day IS NULL, 'at_invalid', NULL)
    ) AS reasons FROM typed
"""
UNFIT = {
    "a reason that is no rule": (
        GOOD.replace("'at_invalid'", "'at_odd'"),
        "rules: at_odd is a reason in the statement, but not a rule of the contract",
    ),
    "a rule that is no reason": (
        GOOD.replace("'at_invalid'", "NULL"),
        "rules 'at_invalid': the statement never gives this reason",
    ),
    "a reason that is put together": (
        GOOD.replace("'at_invalid'", "concat(id, '_invalid')"),
        "must be a literal, as in concat_ws",
    ),
    "a reason that comes from a field": (
        GOOD.replace("'at_invalid'", "id"),
        "statement: raw.id among the reasons"
    ),
    "no reasons": (
        "SELECT id, try_cast(at AS DATE) AS day FROM raw",
        "columns: column reasons is not in the statement",
    ),
    "a column too few": (
        GOOD.replace("SELECT id, day, concat_ws", "SELECT day, concat_ws"),
        "columns: column id is not in the statement",
    ),
    "a column too many": (
        GOOD.replace("SELECT id, day, concat_ws", "SELECT id, day, 1 AS one, concat_ws"),
        "statement: column one is not among the contract's columns: day, id, reasons",
    ),
    "a column twice": (
        GOOD.replace("SELECT id, day, concat_ws", "SELECT id, id, day, concat_ws"),
        "statement: gives the column id twice",
    ),
    "a misspelt field": (GOOD.replace("try_cast(at", "try_cast(att"), "att"),
    "another table": (
        GOOD.replace("FROM raw", "FROM raws"),
        "statement: table raws is not among the contract's inputs: raw",
    ),
    "rows left out": (
        GOOD + " WHERE id IS NOT NULL",
        "statement: has a WHERE, but must give one row for each line of raw",
    ),
    "rows put together": (
        "SELECT max(id) AS id, NULL AS day, NULL AS reasons FROM raw",
        "statement: has an aggregate",
    ),
    "rows of two kinds": (GOOD + " UNION ALL " + GOOD, "statement: must be one SELECT"),
    "no SQL": ("SELECT FROM WHERE", "statement: "),
    "no SELECT": ("DROP TABLE raw", "statement: must be one SELECT"),
}  # fmt: skip


def test_a_statement_may_give_its_reasons_in_several_ways(sql: Callable[[str], str]) -> None:
    check_statement(replace(MINE, statement=sql(GOOD)))


@pytest.mark.parametrize(("text", "said"), UNFIT.values(), ids=UNFIT)
def test_a_statement_that_does_not_fit_its_contract_is_one_line(
    sql: Callable[[str], str], text: str, said: str
) -> None:
    with pytest.raises(ContractError) as error:
        check_statement(replace(MINE, statement=sql(text), description=text))
    message = str(error.value)
    assert message.startswith("contract silver/mine: ")
    assert said in message
    assert "mine.sql" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": (COMMERCE_USERS,)}, "table silver.events is not among the contract's inputs"),
        ({"inputs": (EVENTS, COMMERCE_USERS)}, "inputs: table silver.commerce_users is not in"),
        ({"columns": HOURLY_REVENUE.columns[1:], "order_by": "hour"}, "column year is not among"),
        ({"statement": TOP_PRODUCTS.statement}, "column category is not among"),
    ],
)
def test_a_gold_statement_reads_its_inputs_and_gives_its_columns(
    change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ContractError, match=said):
        check_statement(replace(HOURLY_REVENUE, rolled="", roll_ups=(), **change))


def test_a_gold_statement_knows_the_columns_of_its_inputs(sql: Callable[[str], str]) -> None:
    text = HOURLY_REVENUE.sql.replace("sum(revenue)", "sum(turnover)")
    with pytest.raises(ContractError, match=r"contract gold/hourly_revenue: .*turnover"):
        check_statement(replace(HOURLY_REVENUE, rolled="", roll_ups=(), statement=sql(text)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: replace(HOURLY_REVENUE, roll_ups=()), "rolled: means nothing without roll_ups"),
        (lambda: replace(HOURLY_REVENUE, rolled=""), "roll_ups: means nothing without rolled"),
        (lambda: replace(HOURLY_REVENUE, rolled="gold/no.sql"), "rolled 'gold/no.sql': there is"),
        (
            lambda: replace(HOURLY_REVENUE, inputs=(EVENTS, COMMERCE_USERS)),
            "roll_ups: silver.event_counts is of silver.events, which must be the only input",
        ),
        (
            lambda: replace(EVENT_COUNTS, columns=EVENT_COUNTS.columns[1:]),
            "order_by 'event_date': is not a column",
        ),
        (
            lambda: replace(
                EVENT_COUNTS, columns=EVENT_COUNTS.columns[1:], order_by="arrival_hour"
            ),
            "columns: of Silver's 'event_date': is not a column",
        ),
        (
            lambda: replace(EVENT_COUNTS, partition="event_date"),
            "partition 'event_date': must be arrival_hour, as in silver.events",
        ),
    ],
)
def test_a_wrong_roll_up_is_one_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ContractError) as error:
        make()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: replace(
                EVENT_COUNTS, columns=EVENT_COUNTS.columns[:5] + EVENT_COUNTS.columns[6:]
            ),
            "statement: column events is not among the contract's columns",
        ),
        (
            lambda: replace(HOURLY_REVENUE, rolled=TOP_PRODUCTS.rolled),
            "statement: column category is not among the contract's columns",
        ),
        (
            lambda: replace(HOURLY_REVENUE, roll_ups=(EVENT_VISITORS,)),
            "table silver.event_counts is not among the contract's inputs",
        ),
        (
            lambda: replace(HOURLY_REVENUE, totals=(Total("units_sold", "avg(quantity)"),)),
            "totals.silver 'avg(quantity)': must be a count or a sum, as these add up",
        ),
        (
            lambda: replace(
                HOURLY_REVENUE, totals=(Total("units_sold", "count(DISTINCT user_id)"),)
            ),
            "totals.silver 'count(DISTINCT user_id)': must be a count or a sum",
        ),
    ],
)
def test_a_statement_of_roll_ups_fits_its_contract(
    make: Callable[[], MadeContract], said: str
) -> None:
    with pytest.raises(ContractError) as error:
        check_statement(make())
    assert said in str(error.value)


def test_gold_of_roll_ups_that_nothing_makes() -> None:
    with pytest.raises(ContractError, match="event_counts is not among ROLL_UPS"):
        check_contracts([EVENTS], [EVENT_VISITORS], [HOURLY_REVENUE])


def clashes() -> Iterator[Any]:
    """Contracts that are right alone and wrong together."""
    at = replace(EVENTS.bronze, asset="bronze/second", prefix="bronze/second/", produced=False)
    second = replace(EVENTS, asset="silver/second", bronze=at)
    yield (
        "two of a name",
        [EVENTS, replace(second, asset=EVENTS.asset)],
        "two contracts have this name",
    )
    taken = replace(second, bronze=replace(at, asset=EVENTS.bronze.asset))
    yield "two of a Bronze asset", [EVENTS, taken], "is also that of silver.events"
    inside = replace(second, bronze=replace(at, prefix="bronze/events/second/"))
    yield "one within the other", [EVENTS, inside], "overlaps 'bronze/events/' of silver.events"
    same = replace(second, bronze=replace(at, prefix=EVENTS.bronze.prefix))
    yield "the same names", [EVENTS, same], "bronze.names .* are also those of silver.events"
    wide = replace(second, bronze=replace(same.bronze, names=r".*\.gz"))
    yield "names of both", [EVENTS, wide], "matches the names of both datasets"
    drop = replace(COMMERCE_ORDERS, bronze=replace(COMMERCE_ORDERS.bronze, prefix="bronze/events/"))
    yield "cadences", [EVENTS, drop], "silver.events has another cadence"


@pytest.mark.parametrize(
    ("silver", "said"), [pytest.param(*case[1:], id=case[0]) for case in clashes()]
)
def test_contracts_that_are_in_each_others_way(silver: list[SilverContract], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        check_contracts(silver, (), ())


def test_gold_of_a_table_that_nothing_makes() -> None:
    with pytest.raises(ContractError, match=r"inputs: silver\.events is not among SILVER"):
        check_contracts([COMMERCE_USERS], [], [CATEGORY_PERFORMANCE])


def test_a_statement_names_only_patterns_that_there_are(tmp_path: Path) -> None:
    statement = tmp_path / "events.sql"
    statement.write_text(EVENTS.sql_path.read_text().replace("${TIMESTAMP}", "${TIME}"))
    with pytest.raises(
        ContractError, match=r"\$\{TIME\} is not a known pattern; choose from PLACEHOLDER, "
    ):
        replace(EVENTS, statement=str(statement))
