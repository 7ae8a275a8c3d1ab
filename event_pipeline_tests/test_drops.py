"""Commerce drops: each uploaded file judged on its own, and each table of a drop asked for once."""

import errno
import gzip
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from event_pipeline.assets.bronze import FILES_VALID
from event_pipeline.assets.keys import bronze_key
from event_pipeline.contracts import COMMERCE_ORDERS
from event_pipeline.lake import objects
from event_pipeline.lake.uploads import Verdict, judge
from event_pipeline.status import as_json, survey
from event_pipeline_tests.dagster_lab import (
    COMMERCE,
    DROP,
    NOW,
    TODAY,
    Lab,
    a_user,
    an_event,
    an_order,
    asked,
    jsonl,
    requests,
    tables,
)

OLD_DROP = "2023-05-06"
USERS = jsonl(a_user("u1"), a_user("u2"))
EVENTS = jsonl(an_event("e1", "u1"))
ORDERS = jsonl(an_order("o1", "u1"))
FILES = {"users.json": USERS, "events.json": EVENTS, "orders.json": ORDERS}
UNUSABLE = {
    "empty": b"",
    "not JSON Lines": b"a plain text\nof two lines\n",
    "no order_id in its first": USERS,
    "damaged gzip": gzip.compress(ORDERS * 100)[:-20],
}
CURSORS = (
    "",
    "garbage",
    "{}",
    "[]",
    '{"audited": 3}',
    *(
        json.dumps({"audited": day, "told": {}})
        for day in ("2026-99-99", "1066-10-14", "9999-12-31")
    ),
)
BRONZE_USERS, BRONZE_EVENTS, BRONZE_ORDERS = map(bronze_key, COMMERCE)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab.open(tmp_path) as lab:
        yield lab


def upload_all(lab: Lab, day: str = DROP) -> None:
    for name, data in FILES.items():
        lab.upload(day, name, data)


def datasets(tick: SensorExecutionData) -> set[tuple[str, str]]:
    """(dataset, drop) of the runs that a tick asks for."""
    return {
        (asset.path[-1].removeprefix("commerce_"), str(request.partition_key))
        for request in requests(tick)
        for asset in request.asset_selection or ()
    }


def last(lab: Lab, asset: dg.AssetKey) -> tuple[bool, str, str]:
    """The latest judgement of a dataset: whether it passed, how serious, and what it says."""
    found = lab.judgements(asset)[-1]
    return found.passed, found.severity.value, found.description or ""


class TestArrivals:
    def test_each_table_of_a_drop_is_asked_for_once(self, lab: Lab) -> None:
        upload_all(lab)
        tick = lab.tick("drops")
        assert datasets(tick) == {("users", DROP), ("events", DROP), ("orders", DROP)}
        assert len(requests(tick)) == 3
        for request in requests(tick):
            assert lab.run(request).success
        assert [lab.rows(contract.table) for contract in COMMERCE] == [2, 1, 1]
        assert asked(lab.tick("drops")) == []

    def test_a_table_is_asked_for_once_while_its_run_is_under_way(self, lab: Lab) -> None:
        upload_all(lab)
        for request in requests(lab.tick("drops")):
            lab.create(request)
        tick = lab.tick("drops")
        assert asked(tick) == []
        for contract in COMMERCE:
            name = contract.identifier[1]
            assert f"{name} {DROP}: a run is under way" in str(tick.skip_message)

    def test_arrivals_are_on_record_once_for_each_file(self, lab: Lab) -> None:
        upload_all(lab)
        for _ in range(2):
            lab.tick("drops")
        for asset in map(bronze_key, COMMERCE):
            (arrived,) = lab.materializations(asset)
            assert (arrived.partition, arrived.metadata["objects"].value) == (DROP, 1)

    def test_both_names_of_the_users_file_are_accepted(self, lab: Lab) -> None:
        lab.upload(DROP, "user.json", USERS)
        assert datasets(lab.tick("drops")) == {("users", DROP)}

    def test_a_replacement_asks_for_its_table_alone(self, lab: Lab) -> None:
        upload_all(lab)
        lab.settle("drops")
        lab.upload(DROP, "users.json", jsonl(a_user("u3")))
        assert datasets(lab.tick("drops")) == {("users", DROP)}
        assert lab.settle("drops") == [DROP]
        assert lab.rows("silver.commerce_users") == 1

    def test_a_deletion_empties_its_table_alone(self, lab: Lab) -> None:
        upload_all(lab)
        lab.settle("drops")
        lab.delete(lab.upload(DROP, "orders.json", ORDERS))
        assert datasets(lab.tick("drops")) == {("orders", DROP)}
        assert lab.settle("drops") == [DROP]
        assert [lab.rows(contract.table) for contract in COMMERCE] == [2, 1, 0]
        assert lab.materializations(BRONZE_ORDERS)[-1].metadata["objects"].value == 0

    def test_no_two_runs_of_a_drop_have_the_same_run_key(self, lab: Lab) -> None:
        """The daemon skips a key that was used; and what is empty has one digest in all tables."""
        upload_all(lab)
        lab.settle("drops")
        for name in FILES:
            lab.delete(lab.upload(DROP, name, b""))
        assert len({request.run_key for request in requests(lab.tick("drops"))}) == 3
        assert lab.settle("drops") == [DROP] * 3

    def test_a_drop_far_outside_the_window_is_noticed_at_the_next_tick(
        self, tmp_path: Path
    ) -> None:
        with Lab.open(tmp_path, first_day="2020-01-01", audit_days_per_tick=1) as lab:
            lab.tick("drops")
            upload_all(lab, OLD_DROP)
            assert datasets(lab.tick("drops")) == {
                ("users", OLD_DROP),
                ("events", OLD_DROP),
                ("orders", OLD_DROP),
            }

    def test_a_file_that_completes_an_old_drop_is_noticed_at_the_next_tick(
        self, tmp_path: Path
    ) -> None:
        with Lab.open(tmp_path, first_day="2020-01-01", audit_days_per_tick=1) as lab:
            lab.upload(OLD_DROP, "users.json", USERS)
            assert lab.settle("drops") == [OLD_DROP]
            lab.upload(OLD_DROP, "orders.json", ORDERS)
            assert datasets(lab.tick("drops")) == {("orders", OLD_DROP)}

    @pytest.mark.parametrize("change", ["replaced", "deleted"])
    def test_a_change_of_an_old_file_is_found_by_the_audit(self, lab: Lab, change: str) -> None:
        key = lab.upload("2026-03-02", "users.json", USERS)
        lab.settle("drops")
        if change == "replaced":
            lab.upload("2026-03-02", "users.json", USERS)
        else:
            lab.delete(key)
        assert "2026-03-02" in {day for _ in range(4) for day in asked(lab.tick("drops"))}

    def test_drops_of_days_to_come_and_long_gone_are_named_and_wait(self, lab: Lab) -> None:
        for day in ("2026-02-28", "2026-03-11"):
            lab.upload(day, "users.json", USERS)
        tick = lab.tick("drops")
        assert asked(tick) == []
        assert "no partition covers the drops 2026-02-28, 2026-03-11" in str(tick.skip_message)
        lab.now = NOW + timedelta(days=1)
        assert lab.settle("drops") == ["2026-03-11"]

    def test_many_old_drops_take_their_turns_the_latest_first(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, first_day="2020-01-01", runs_per_tick=2) as lab:
            days = [f"2021-01-0{n}" for n in range(1, 6)]
            for day in days:
                lab.upload(day, "users.json", USERS)
            assert asked(lab.tick("drops")) == days[:2:-1]
            assert sorted(lab.settle("drops")) == days

    def test_an_old_drop_whose_run_failed_is_asked_for_at_the_next_tick(
        self, tmp_path: Path
    ) -> None:
        with Lab.open(tmp_path, first_day="2020-01-01", audit_days_per_tick=1) as lab:
            lab.upload(OLD_DROP, "users.json", USERS)
            for _ in range(lab.settings.max_attempts):
                lab.fail(lab.first("drops"))
            tick = lab.tick("drops")
            assert asked(tick) == []
            assert f"commerce_users {OLD_DROP}: given up after 3" in str(tick.skip_message)


class TestJudgement:
    @pytest.mark.parametrize("why", UNUSABLE)
    def test_an_unusable_file_does_not_stop_the_others(self, lab: Lab, why: str) -> None:
        upload_all(lab)
        key = lab.upload(DROP, "orders.json", UNUSABLE[why])
        assert datasets(lab.tick("drops")) == {("users", DROP), ("events", DROP)}
        passed, severity, said = last(lab, BRONZE_ORDERS)
        assert (passed, severity) == (False, "ERROR")
        assert f"orders.json: {why}" in said
        assert (lab.settings.lake / key).read_bytes() == UNUSABLE[why]

    def test_a_file_that_may_not_be_read_does_not_stop_the_others(
        self, lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def deny(file: IO[bytes], fields: Sequence[str], names: Sequence[str]) -> Verdict:
            if "orders" in str(file.name):
                raise PermissionError(errno.EACCES, "Permission denied")
            return judge(file, fields, names)

        upload_all(lab)
        with monkeypatch.context() as denied:  # root, as tests may run, may read everything
            denied.setattr(objects, "judge", deny)
            assert datasets(lab.tick("drops")) == {("users", DROP), ("events", DROP)}
        assert "orders.json: cannot be read: Permission denied" in last(lab, BRONZE_ORDERS)[2]
        assert ("orders", DROP) in datasets(lab.tick("drops"))

    def test_a_refused_file_is_on_record_with_its_reason(self, lab: Lab) -> None:
        upload_all(lab)
        key = lab.upload(DROP, "orders.json", b"")
        lab.tick("drops")
        (seen,) = lab.observations(BRONZE_ORDERS)
        assert (seen.partition, seen.description) == (DROP, "not read: orders.json: empty")
        (record,) = seen.metadata["files"].value.records  # type: ignore[union-attr]
        assert record.data == {"file": key, "why": "empty"}
        assert last(lab, BRONZE_ORDERS) == (False, "ERROR", f"date={DROP}/orders.json: empty")
        for asset in (BRONZE_USERS, BRONZE_EVENTS):
            assert lab.observations(asset) == []
            assert last(lab, asset)[0]

    def test_a_refused_file_is_named_by_tick_and_status_for_as_long_as_it_is_there(
        self, lab: Lab
    ) -> None:
        lab.upload(DROP, "users.json", USERS)
        key = lab.upload(DROP, "orders.json", b"")
        lab.settle("drops")
        for _ in range(2):
            assert f"not read: date={DROP}/orders.json: empty" in str(
                lab.tick("drops").skip_message
            )
        status = as_json(survey(lab.settings, lab.instance))
        assert status["unusable"] == [{"object": key, "partition": DROP, "why": "empty"}]
        assert status["waiting"] == []

    def test_a_corrected_upload_passes_and_is_built(self, lab: Lab) -> None:
        lab.upload(DROP, "orders.json", b"")
        lab.tick("drops")
        lab.upload(DROP, "orders.json", ORDERS)
        tick = lab.tick("drops")
        assert datasets(tick) == {("orders", DROP)}
        assert last(lab, BRONZE_ORDERS)[0]
        lab.run(requests(tick)[0])
        assert lab.rows("silver.commerce_orders") == 1
        assert "not read" not in str(lab.tick("drops").skip_message)

    def test_an_old_refused_file_is_seen_at_every_tick_until_it_is_corrected(
        self, tmp_path: Path
    ) -> None:
        with Lab.open(tmp_path, first_day="2020-01-01", audit_days_per_tick=1) as lab:
            lab.upload(OLD_DROP, "orders.json", b"")
            for _ in range(3):
                assert "orders.json: empty" in str(lab.tick("drops").skip_message)
            lab.upload(OLD_DROP, "orders.json", ORDERS)
            assert lab.settle("drops") == [OLD_DROP]
            assert [each.passed for each in lab.judgements(BRONZE_ORDERS)] == [False, True]

    def test_a_good_upload_elsewhere_does_not_pass_for_the_bad_one(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, first_day="2020-01-01", audit_days_per_tick=1) as lab:
            lab.upload(OLD_DROP, "orders.json", b"")
            lab.tick("drops")
            for day in (TODAY, "2024-01-01"):
                lab.upload(day, "orders.json", ORDERS)
                assert lab.settle("drops") == [day]
                assert last(lab, BRONZE_ORDERS) == (
                    False,
                    "ERROR",
                    f"date={OLD_DROP}/orders.json: empty",
                )

    def test_a_refused_replacement_keeps_what_was_published_live(self, lab: Lab) -> None:
        lab.upload(DROP, "orders.json", ORDERS)
        lab.settle("drops")
        lab.upload(DROP, "orders.json", b"")
        assert asked(lab.tick("drops")) == []
        assert lab.rows("silver.commerce_orders") == 1
        assert last(lab, BRONZE_ORDERS) == (False, "ERROR", f"date={DROP}/orders.json: empty")
        assert not lab.materialize(tables(COMMERCE_ORDERS), DROP).success
        assert lab.rows("silver.commerce_orders") == 1

    def test_a_refused_file_that_is_deleted_is_forgotten(self, lab: Lab) -> None:
        key = lab.upload(DROP, "orders.json", b"")
        lab.tick("drops")
        lab.delete(key)
        tick = lab.tick("drops")
        assert asked(tick) == []
        assert "not read" not in str(tick.skip_message)
        assert last(lab, BRONZE_ORDERS)[0]

    def test_a_judgement_is_put_on_record_only_when_it_changes(self, lab: Lab) -> None:
        counts = []
        for name, data in (
            ("orders.json", b""),
            ("users.json", USERS),
            ("orders.json", b"\n"),  # another version, unusable for the same reason
            ("orders.json", b"no"),
            ("orders.json", ORDERS),
        ):
            lab.upload(DROP, name, data)
            for _ in range(2):
                lab.tick("drops")
            counts.append([len(lab.judgements(asset)) for asset in (BRONZE_ORDERS, BRONZE_USERS)])
        assert counts == [[1, 1], [1, 1], [1, 1], [2, 1], [3, 1]]

    def test_single_records_are_the_contracts_business(self, lab: Lab) -> None:
        lab.upload(DROP, "orders.json", ORDERS + b"not json\n")
        assert lab.settle("drops") == [DROP]
        assert last(lab, BRONZE_ORDERS)[0]
        assert lab.rows("quarantine.commerce_orders") == 1

    def test_the_check_can_be_executed_by_hand(self, lab: Lab) -> None:
        upload_all(lab)
        assert execute_check(lab, BRONZE_ORDERS).passed
        keys = [lab.upload(day, "orders.json", b"") for day in (DROP, "2026-03-02")]
        found = execute_check(lab, BRONZE_ORDERS)
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert found.description == (
            f"date=2026-03-02/orders.json: empty; date={DROP}/orders.json: empty"
        )
        records = found.metadata["files"].value.records  # type: ignore[union-attr]
        assert [record.data["file"] for record in records] == sorted(keys)
        assert execute_check(lab, BRONZE_USERS).passed


class TestForeignNames:
    NAMES = ("my_users.json", "users.json.bak", "users.json/part-0.json", "users", "Users.json")

    def test_foreign_names_are_a_warning_and_block_nothing(self, lab: Lab) -> None:
        lab.upload(DROP, "user.json", USERS)
        keys = [lab.upload(DROP, name, jsonl(a_user("nobody"))) for name in self.NAMES]
        assert lab.settle("drops") == [DROP]
        assert lab.rows("silver.commerce_users") == 2
        passed, severity, said = last(lab, BRONZE_USERS)
        assert (passed, severity) == (False, "WARN")
        for name, key in zip(self.NAMES, keys, strict=True):
            assert f"{name}: its name is not known: expected users.json" in said
            assert key in str(lab.tick("drops").skip_message)
        assert last(lab, BRONZE_EVENTS)[0]

    def test_a_foreign_name_and_an_unusable_file_are_an_error_together(self, lab: Lab) -> None:
        lab.upload(DROP, "users.json", b"")
        lab.upload(DROP, "my_users.json", USERS)
        lab.tick("drops")
        passed, severity, said = last(lab, BRONZE_USERS)
        assert (passed, severity) == (False, "ERROR")
        assert "my_users.json: its name is not known" in said
        assert "users.json: empty" in said

    def test_by_hand_too(self, lab: Lab) -> None:
        lab.upload(DROP, "my_users.json", USERS)
        found = execute_check(lab, BRONZE_USERS)
        assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)

    def test_among_hundreds_of_other_names_the_file_is_found(self, lab: Lab) -> None:
        folder = lab.settings.lake / "bronze" / "commerce" / f"date={DROP}"
        folder.mkdir(parents=True)
        for n in range(600):
            (folder / f"my_{n:03}_users.json").write_bytes(USERS)
        upload_all(lab)
        assert lab.settle("drops") == [DROP] * 3
        assert [lab.rows(contract.table) for contract in COMMERCE] == [2, 1, 1]
        tick = lab.tick("drops")
        assert "and 590 more" in str(tick.skip_message)
        assert len(str(tick.skip_message)) < 2_000
        assert len(last(lab, BRONZE_USERS)[2]) < 2_000

    def test_one_in_each_drop_is_told_once(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, runs_per_tick=2, audit_days_per_tick=1) as lab:
            for n in range(1, 11):
                lab.upload(f"2026-03-{n:02}", "_SUCCESS", b"")
            for _ in range(8):
                lab.tick("drops")
            told = [len(lab.judgements(asset)) for asset in map(bronze_key, COMMERCE)]
            for _ in range(8):
                lab.tick("drops")
            assert told == [len(lab.judgements(asset)) for asset in map(bronze_key, COMMERCE)]

    def test_what_lies_beside_the_drops_is_named(self, lab: Lab) -> None:
        lab.upload(DROP, "users.json", USERS)
        lab.store.put("bronze/commerce/users.json", USERS)
        lab.store.put("bronze/commerce/date=2026-3-9/users.json", USERS)
        assert lab.settle("drops") == [DROP]
        said = str(lab.tick("drops").skip_message)
        assert said.count("bronze/commerce/users.json") == 1
        assert said.count("bronze/commerce/date=2026-3-9") == 1


class TestCursor:
    def test_it_is_small_however_many_drops_and_bad_files_there_are(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, first_day="2025-01-01", runs_per_tick=5) as lab:
            for n in range(60):
                day = f"{NOW - timedelta(days=n):%Y-%m-%d}"
                lab.upload(day, "users.json", USERS)
                lab.upload(day, "orders.json", b"")
            for _ in range(5):
                assert len(str(lab.tick("drops").cursor)) < 400

    def test_any_text_loses_nothing(self, tmp_path: Path) -> None:
        with Lab.open(tmp_path, first_day="2020-01-01", audit_days_per_tick=1) as lab:
            lab.upload(OLD_DROP, "orders.json", b"")
            lab.tick("drops")
            upload_all(lab)
            for cursor in CURSORS:
                lab.cursors["drops"] = cursor
                tick = lab.tick("drops")
                assert datasets(tick) == {("users", DROP), ("events", DROP), ("orders", DROP)}
                # Else a dataset with an unusable file would be shown as valid.
                said = last(lab, BRONZE_ORDERS)
                assert said == (False, "ERROR", f"date={OLD_DROP}/orders.json: empty")


def execute_check(lab: Lab, asset: dg.AssetKey) -> dg.AssetCheckEvaluation:
    """The check of an asset's files, as a person executes it in the UI."""
    job = lab.defs.resolve_implicit_global_asset_job_def()
    chosen = {dg.AssetCheckKey(asset, FILES_VALID)}
    run = job.get_subset(asset_selection=set(), asset_check_selection=chosen).execute_in_process(
        instance=lab.instance
    )
    assert run.success
    (found,) = run.get_asset_check_evaluations()
    return found
