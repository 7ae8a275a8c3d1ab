"""Bronze objects: what counts as one, and the digest that stands for a set of them."""

import json
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event_pipeline.contracts import EVENTS
from event_pipeline.lake.objects import EMPTY, BronzeObject, Listing
from event_pipeline_tests.conftest import HOUR, Lab, jsonl

found = st.builds(
    BronzeObject, st.text("abc/=-.", min_size=1), st.text("0123-", min_size=1), st.integers(0, 9)
)
sets = st.lists(found, max_size=5, unique_by=lambda item: item.key).map(tuple)


@given(one=sets, other=sets)
def test_digests_are_equal_exactly_when_keys_and_versions_are(
    one: tuple[BronzeObject, ...], other: tuple[BronzeObject, ...]
) -> None:
    def versions(objects: tuple[BronzeObject, ...]) -> set[tuple[str, str]]:
        return {(item.key, item.etag) for item in objects}

    assert (Listing(one).digest == Listing(other).digest) == (versions(one) == versions(other))


@given(one=sets.filter(bool))
def test_a_digest_depends_on_every_object_and_on_no_order(one: tuple[BronzeObject, ...]) -> None:
    digest = Listing(one).digest
    assert Listing(one[::-1]).digest == digest
    assert Listing(one, foreign=("more",)).digest == digest
    assert Listing(one[1:]).digest != digest
    assert Listing((replace(one[0], etag=one[0].etag + "0"), *one[1:])).digest != digest
    assert Listing((replace(one[0], key=one[0].key + "a"), *one[1:])).digest != digest


def test_an_hours_digest_follows_its_objects(lab: Lab) -> None:
    assert lab.objects.partition(EVENTS, HOUR) == EMPTY
    digests = {EMPTY.digest}
    lab.deliver(jsonl(["a"]))
    digests.add(lab.objects.partition(EVENTS, HOUR).digest)
    lab.deliver(jsonl(["b"]))  # the same size, the same second
    digests.add(lab.objects.partition(EVENTS, HOUR).digest)
    lab.deliver(jsonl(["a"]), minute=5)
    digests.add(both := lab.objects.partition(EVENTS, HOUR).digest)
    assert len(digests) == 4
    lab.deliver(jsonl(["elsewhere"]), "2026-01-01-11:00")
    assert lab.objects.partition(EVENTS, HOUR).digest == both
    lab.delete(minute=5)
    assert lab.objects.partition(EVENTS, HOUR).digest in digests - {both}


@pytest.mark.parametrize(
    "name",
    [
        "minute=00/_SUCCESS",
        "minute=00/events-20260101-100000.jsonl",
        "minute=00/events-20260101-100000.jsonl.gz.tmp",
        "minute=00/xevents-20260101-100000.jsonl.gz",
        "minute=0/events-20260101-100000.jsonl.gz",
        "minute=00/events-2026-01-01.jsonl.gz",
        "events-20260101-100000.jsonl.gz",
        "minute=00/events-20260101-100000-UP.jsonl.gz",
    ],
)
def test_a_foreign_object_is_reported_and_not_read(lab: Lab, name: str) -> None:
    key = lab.deliver(jsonl(["bad"]))
    digest = lab.objects.partition(EVENTS, HOUR).digest
    foreign = f"{key.split('minute=')[0]}{name}"
    path = lab.root / foreign
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jsonl(["bad"]))
    listing = lab.objects.partition(EVENTS, HOUR)
    assert ([item.key for item in listing.objects], listing.foreign) == ([key], (foreign,))
    assert listing.digest == digest
    (built,) = lab.build()
    assert (built.receipt["lines"], built.receipt["foreign"]) == (1, (foreign,))


def test_a_loaded_file_beside_a_producers_object_is_read(lab: Lab) -> None:
    key = lab.deliver(jsonl(["bad"]))
    (lab.root / key.replace(".jsonl", "-0123abcdef45.jsonl")).write_bytes(jsonl(["worse"]))
    (built,) = lab.build()
    assert built.receipt["lines"] == 2


def test_a_day_lists_its_hours_and_no_others(lab: Lab) -> None:
    lab.deliver(jsonl(["a"]), "2026-01-01-00:00")
    lab.deliver(jsonl(["a"]), "2026-01-01-23:00", 55)
    lab.deliver(jsonl(["a"]), "2026-01-02-00:00")
    hours = lab.objects.day(EVENTS, date(2026, 1, 1))
    assert sorted(hours) == ["2026-01-01-00:00", "2026-01-01-23:00"]
    assert hours == {hour: lab.objects.partition(EVENTS, hour) for hour in hours}


def test_a_manifest_counts_for_the_version_that_it_was_written_for(lab: Lab) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=2)
    (source,) = lab.objects.sources(EVENTS, lab.objects.partition(EVENTS, HOUR))
    assert (source.key, source.lines) == (key, 2)
    lab.deliver(jsonl(["a", "b", "c"]))
    (source,) = lab.objects.sources(EVENTS, lab.objects.partition(EVENTS, HOUR))
    assert source.lines is None
    (built,) = lab.build()
    assert (built.status, built.receipt["lines"]) == ("published", 3)


@pytest.mark.parametrize(
    "change",
    [{"etag": '"0"'}, {"bytes": 1}, {"lines": None}, {"lines": "9"}, {"lines": 9.0}],
    ids=str,
)
def test_a_manifest_that_does_not_fit_is_not_trusted(lab: Lab, change: dict[str, object]) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=9)
    manifest = lab.manifest(key)
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **change}))
    (built,) = lab.build()
    assert (built.status, built.receipt["lines"]) == ("published", 2)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\xff"])
def test_a_manifest_that_is_none_is_not_trusted(lab: Lab, text: str) -> None:
    key = lab.deliver(jsonl(["a", "b"]), lines=9)
    lab.manifest(key).write_bytes(text.encode("latin-1"))
    assert lab.objects.manifest(key) is None
    (built,) = lab.build()
    assert (built.status, built.receipt["lines"]) == ("published", 2)


def test_an_object_delivered_again_in_another_hour_is_told(lab: Lab) -> None:
    data = jsonl(["bad"])
    first = lab.deliver(data, "2026-01-01-09:00", lines=1)
    again = lab.deliver(data, HOUR, 30, lines=1)
    lab.build("2026-01-01-09:00")
    (built,) = lab.build()
    assert built.receipt["redelivered"] == {again: first}
