"""What a person sees and clicks in Dagster's UI."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from urllib.parse import quote

import dagster as dg
import pytest
from playwright.sync_api import Locator, Page, expect

from event_pipeline.contracts import COMMERCE_USERS, EVENTS, GOLD, USER_ACTIVITY, Contract
from event_pipeline.ingest.drops import DropProfile, file_key, write_drop
from event_pipeline.ingest.handler import FolderStore
from event_pipeline.partitions import DAY, HOUR, HOURLY
from event_pipeline.resources import resources
from event_pipeline_tests.ui.conftest import SCREENSHOTS, Server

pytestmark = pytest.mark.ui

GROUPS = ("bronze", "silver", "quarantine", "gold")
# A tick of each sensor every 30 seconds, and a process for each run, on a busy machine.
RUN_SECONDS = 120
# Pages wait for the same two cores on which the first runs are starting.
expect.set_options(timeout=60_000)

T = TypeVar("T")


def wait_for(what: Callable[[], T | None], seconds: float = RUN_SECONDS) -> T:
    deadline = time.monotonic() + seconds
    while (found := what()) is None:
        assert time.monotonic() < deadline, f"nothing came in {seconds} s"
        time.sleep(0.5)
    return found


def ingest_hour(server: Server, hours_ago: int) -> str:
    """Writes a whole hour of events to Bronze, as the Lambda would; its partition."""
    key = HOURLY.key(datetime.now(UTC) - hours_ago * HOUR)
    results = resources(server.settings).ingester.ingest_hour(key)
    assert [r["status"] for r in results] == ["written"] * 12
    return key


@pytest.fixture(scope="module", autouse=True)
def arrived(server: Server) -> str:
    """An hour that arrives while the server runs, and that nobody clicks."""
    return ingest_hour(server, hours_ago=2)


def open_partition(page: Page, asset: str, partition: str) -> None:
    page.goto(f"/assets/{asset}?view=partitions&partition={quote(partition)}")
    expect(page.get_by_text("Materialized", exact=True)).to_be_visible()


def metadata(page: Page, key: str) -> Locator:
    """The cell that holds the metadata of a key."""
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=key, exact=True))
    return row.get_by_role("cell").nth(1)


def shown(page: Page, value: Locator) -> Locator:
    """What a value shows: Dagster puts Markdown and schemas of 1,000 characters behind a click."""
    button = value.get_by_text(re.compile(r"^\[Show (Markdown|Table Schema)]$"))
    expect(value).not_to_be_empty()
    if button.count() == 0:
        return value
    button.click()
    return page.get_by_role("dialog")


def close(page: Page, name: str) -> None:
    """Takes a picture of an open dialog and closes it."""
    page.wait_for_timeout(500)  # it fades in
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
    dialog = page.get_by_role("dialog")
    if dialog.count():
        dialog.get_by_role("button", name=re.compile("^(Close|Done)$")).click()
        expect(dialog).to_have_count(0)


def test_the_graph_shows_every_asset_in_its_group(page: Page) -> None:
    page.set_viewport_size({"width": 2400, "height": 3600})
    expanded = ",".join(f"global@global:{group}" for group in GROUPS)
    page.goto(f"/asset-groups?expanded={quote(expanded)}")
    expect(page.get_by_role("img", name="unfold_less")).to_have_count(len(GROUPS))
    # One in each of Bronze, Silver and quarantine.
    expect(page.get_by_text("events", exact=True)).to_have_count(3)
    for contract in GOLD:
        expect(page.get_by_text(contract.identifier[1], exact=True)).to_be_visible()
    for group in GROUPS:
        expect(page.get_by_text(group, exact=True).last).to_be_visible()
    expect(page.get_by_text("Loading")).to_have_count(0)
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text(re.compile("error|failed|could not", re.IGNORECASE))).to_have_count(0)


def test_sensors_run_by_themselves_and_the_schedule_waits_for_a_person(page: Page) -> None:
    def switch(name: str) -> Locator:
        link = page.get_by_role("link", name=name)
        return link.locator("xpath=following::input[@type='checkbox'][1]")

    page.goto("/automation")
    expect(switch("arrivals")).to_be_checked()
    expect(switch("gold_refresh")).to_be_checked()
    expect(switch("ingest_every_5_minutes")).not_to_be_checked()


def test_a_partition_is_materialized_by_clicks(page: Page, server: Server) -> None:
    hour = ingest_hour(server, hours_ago=1)
    page.goto("/assets/silver/events")
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog").filter(has_text="Launch runs to materialize")
    # That the quarantine comes of the same run; in a fresh home, that Bronze is not on record.
    confirm = page.get_by_role("button", name="Confirm")
    expect(dialog.or_(confirm)).to_be_visible()
    while confirm.count():
        confirm.click()
        page.wait_for_timeout(1000)  # the next dialog fades in
        expect(dialog.or_(confirm)).to_be_visible()
    dialog.get_by_role("textbox").first.fill(hour)
    dialog.get_by_role("textbox").first.press("Enter")
    expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "launch.png")
    dialog.get_by_role("button", name="Launch 1 run").click()

    run = wait_for(lambda: run_by_hand(server, hour))
    page.goto(f"/runs/{run.run_id}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_SECONDS * 1000)
    page.screenshot(path=SCREENSHOTS / "run.png")

    open_partition(page, EVENTS.asset, hour)
    assert_ledger(page, hour)
    rejected = metadata(page, "rejected_by_reason")
    expect(rejected).to_contain_text("malformed_json")
    expect(rejected).to_contain_text("The line is not one JSON object.")
    preview = shown(page, metadata(page, "preview"))
    expect(preview).to_contain_text("page_view")
    expect(preview).to_contain_text("search_query")
    close(page, "silver_preview")
    schema = shown(page, metadata(page, "dagster/column_schema"))
    for column in EVENTS.columns:
        expect(schema.get_by_text(column.name, exact=True).first).to_be_visible()
    close(page, "silver_schema")
    page.goto("/assets/silver/events")
    for column in EVENTS.columns:
        expect(page.get_by_text(column.description, exact=True)).to_be_visible()


def run_by_hand(server: Server, partition: str) -> dg.DagsterRun | None:
    runs = server.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": partition}))
    return next((run for run in runs if "dagster/sensor_name" not in run.tags), None)


def assert_ledger(page: Page, hour: str) -> None:
    cells = metadata(page, "ledger").get_by_role("row").last.get_by_role("cell").all_inner_texts()
    names = metadata(page, "ledger").get_by_role("columnheader").all_inner_texts()
    ledger = dict(zip(names, cells, strict=True))
    assert ledger["balanced"] == "true"
    lines, rows, duplicates, quarantined = (
        int(ledger[name]) for name in ("lines", "rows", "duplicates", "quarantined")
    )
    assert lines == rows + duplicates + quarantined
    assert 4000 < lines < 8000
    assert quarantined > 0


def test_the_sensors_bring_an_arrival_to_gold(page: Page, server: Server, arrived: str) -> None:
    day = arrived[:10]
    silver = wait_for(lambda: server.latest(EVENTS.asset, arrived))
    of_events = [contract for contract in GOLD if contract.inputs == (EVENTS,)]
    for contract in of_events:
        wait_for(partial(newer, server, contract, day, silver))
    for record in (silver, server.latest(GOLD[0].asset, day)):
        assert record is not None
        run = server.instance.get_run_by_id(record.run_id)
        assert run is not None
        assert run.tags["dagster/sensor_name"] in {"arrivals", "gold_refresh"}

    for contract in of_events:
        open_partition(page, contract.asset, day)
        image = shown(page, metadata(page, "chart")).locator("img")
        expect(image).to_be_visible()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
        close(page, f"chart_{contract.identifier[1]}")
    expect(metadata(page, "reconciliation")).to_contain_text("total_events")


def test_a_drop_is_judged_and_promoted_when_it_is_whole(page: Page, server: Server) -> None:
    day = (datetime.now(UTC) - DAY).date()
    store = FolderStore(server.settings.lake)
    write_drop(store, day, DropProfile(records=500, unknown_share=0.05))
    good = store.read(file_key(day, "orders"))
    assert good is not None
    store.put(file_key(day, "orders"), b"")
    users, drop = COMMERCE_USERS.asset, day.isoformat()
    wait_for(lambda: server.latest(users, drop))

    page.goto("/assets/bronze/commerce_orders?view=checks")
    expect(page.get_by_text("orders.json: empty").first).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "refused.png")
    page.goto("/locations/event_pipeline.definitions/sensors/promotion")
    why = re.compile(r"for commerce_orders \(orders.json: empty\)")
    expect(page.get_by_text(why).first).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "incomplete.png")
    assert server.latest(USER_ACTIVITY.asset, drop) is None

    store.put(file_key(day, "orders"), good[0])
    wait_for(lambda: server.latest(USER_ACTIVITY.asset, drop))
    open_partition(page, USER_ACTIVITY.asset, drop)
    preview = shown(page, metadata(page, "preview"))
    expect(preview).to_contain_text("revenue")
    close(page, "user_activity_preview")
    unknown = shown(page, metadata(page, "without_user_id"))
    expect(unknown).to_contain_text("total_orders")
    close(page, "user_activity_unknown")
    expect(metadata(page, "reconciliation")).to_contain_text("revenue EUR")


def newer(
    server: Server, contract: Contract, day: str, than: dg.EventLogRecord
) -> dg.EventLogRecord | None:
    found = server.latest(contract.asset, day)
    return found if found and found.storage_id > than.storage_id else None
