"""Sample commerce drops: a day's three files, the same each time. Standard library only.

A fifth of the users have events and orders, five of each on average, as in the original system. So
a join of a drop's orders and events by user counts each order five times on average. Lines are
joined from ready-made text, as in generator.py.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from io import BytesIO
from itertools import cycle, product
from random import Random

from event_pipeline.bronze import drop_key
from event_pipeline.ingest.generator import PRODUCTS
from event_pipeline.ingest.handler import FolderStore, S3Store

FILES = ("users", "events", "orders")

CURRENCIES = {"IN": "INR", "US": "USD", "EU": "EUR", "AU": "AUD"}  # by country
DEVICES = ("mobile", "PC", "tablet")
SOURCES = ("organic", "google_ads", "facebook", "email", "affiliate", "referral")
SIGNUP_DATES = tuple(date(2020, 1, 1) + timedelta(n) for n in range(5 * 365))
CENTS = range(1_000, 3_000_001)  # of an order's amount, all equally likely
STATUSES = {"success": 85, "failed": 10, "in_progress": 5}  # percent of orders

# Prefixes of user ids: of users in the users' file, and of users that are in none.
KNOWN, UNKNOWN = "u_", "x_"

# What a visitor does: [v]iew products, and [p]urchase the one viewed last. A script has 2.5 events
# on average, so that two sessions give a user the original's five events.
SCRIPTS = ("v", "vv", "vvp", "vvvp")
USERS_PER_ACTIVE = 5  # one user in this many has events and orders

_KEYS = {"users": "user_id", "events": "event_id", "orders": "order_id"}
_BROKEN_FIELDS: dict[str, dict[str, dict[str, str]]] = {
    "users": {"timestamp_invalid": {"signup_date": "19/11/2025"}},
    "events": {"timestamp_invalid": {"event_timestamp": "19/11/2025 17:54:54"}},
    "orders": {
        "timestamp_invalid": {"order_timestamp": "19/11/2025 17:54:54"},
        "amount_invalid": {"order_amount": "n/a"},
        "status_unknown": {"payment_status": "refunded"},
    },
}
_FAULTS_OF_TWO = ("duplicate", "conflict")
# How a file's lines are broken, the way real feeds break. The last two take the whole line, or
# its key alone, from the line before.
FAULTS = {
    name: (*_BROKEN_FIELDS[name], "key_missing", "truncated", *_FAULTS_OF_TWO) for name in FILES
}


@dataclass(frozen=True)
class DropProfile:
    """What a drop is filled with.

    records: lines of each file. fault_share: share of each file's lines that are broken, by each of
    the file's FAULTS equally often; a line after a broken one has no fault of two lines.
    unknown_share: share of events, in whole sessions, and of orders whose user is in no users'
    file.

    Raises ValueError naming the field that cannot be used.
    """

    records: int = 1_000_000
    seed: int = 0
    fault_share: float = 0.0
    unknown_share: float = 0.0

    def __post_init__(self) -> None:
        if self.records < 1:
            raise ValueError(f"records={self.records!r}: must be at least 1")
        for name in ("fault_share", "unknown_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"{name}={share!r}: must be from 0 to 1")

    @property
    def active(self) -> int:
        """Number of users with events and orders: the first ones, on every day."""
        return max(1, self.records // USERS_PER_ACTIVE)


def file_key(day: date, name: str) -> str:
    """Key, from the lake's root, of one of the FILES of the day's drop.

    Raises ValueError if there is no file of that name.
    """
    _check_name(name)
    return drop_key(day, f"{name}.json")


def generate_drop(day: date, name: str, profile: DropProfile) -> Iterator[bytes]:
    """JSON lines of one of the FILES of the day's drop, in chunks of whole lines.

    A chunk is about 100 kB. The lines depend on the day and the profile alone; users are the same
    every day, and the shares change only the lines that are broken or of unknown users. Events of
    a session follow each other in time; sessions and orders are in no particular order.

    Raises ValueError if there is no file of that name.
    """
    _check_name(name)
    return _chunks(day, name, profile)


def write_drop(store: FolderStore | S3Store, day: date, profile: DropProfile) -> dict[str, int]:
    """Write the day's three files, except those that already have the same bytes.

    Returns the number of lines of each file, by name. One file at a time is in memory, at about 210
    bytes a record, together with the one that it replaces.
    """
    return {name: _write_file(store, day, name, profile) for name in FILES}


_CHUNK = 512  # lines; as in generator.py
_DAY_SECONDS = 24 * 60 * 60
_LONGEST_STEP = 600  # seconds between two events of a session
_LATEST_BEGIN = _DAY_SECONDS - _LONGEST_STEP * max(map(len, SCRIPTS))

_TRAITS = list(product(CURRENCIES, DEVICES, SOURCES))
_USER_ENDS = [
    f'"country": "{country}", "device_type": "{device}", "marketing_source": "{source}"}}\n'
    for country, device, source in _TRAITS
]
_CURRENCIES_OF_TRAITS = [
    f', "currency": "{CURRENCIES[country]}", "order_timestamp": "' for country, *_ in _TRAITS
]
_SIGNUPS = [f'", "signup_date": "{day}", ' for day in SIGNUP_DATES]
_DEVICE_ENDS = [f'", "device_type": "{device}"}}\n' for device in DEVICES]
_VIEWS, _PURCHASES = (
    [f'"event_type": "{kind}", "product_id": "{item}", "event_timestamp": "' for item in PRODUCTS]
    for kind in ("product_view", "product_purchase")
)
_ORDERED = [f'", "product_id": "{item}", "order_amount": ' for item in PRODUCTS]
_HUNDREDTHS = [f"{n:02d}" for n in range(100)]
_STATUS_ENDS = [
    f'", "payment_status": "{status}"}}\n'
    for status, percent in STATUSES.items()
    for _ in range(percent)
]


def _chunks(day: date, name: str, profile: DropProfile) -> Iterator[bytes]:
    make = {"users": _users, "events": _events, "orders": _orders}[name]
    breaker = Random(f"{day} {profile.seed} {name} faults")
    for lines in make(day, profile):
        if profile.fault_share:
            _break(lines, name, profile.fault_share, breaker)
        yield "".join(lines).encode("ascii")


def _write_file(store: FolderStore | S3Store, day: date, name: str, profile: DropProfile) -> int:
    data = BytesIO()  # the only buffer that gives its bytes without a copy
    lines = 0
    for chunk in generate_drop(day, name, profile):
        data.write(chunk)
        lines += chunk.count(b"\n")
    key, written = file_key(day, name), data.getvalue()
    found = store.read(key)
    if found is None or found[0] != written:
        store.put(key, written)
    return lines


def _users(day: date, profile: DropProfile) -> Iterator[list[str]]:
    ends = _by_user(_USER_ENDS, profile.records, profile)
    rand = Random(f"{profile.seed} signups").random
    for first in range(0, profile.records, _CHUNK):
        yield [
            f'{{"user_id": "{KNOWN}{n:07d}{_SIGNUPS[int(rand() * len(_SIGNUPS))]}{ends[n]}'
            for n in range(first, min(first + _CHUNK, profile.records))
        ]


def _events(day: date, profile: DropProfile) -> Iterator[list[str]]:
    stamps = _stamps(day)
    event_id, session_id = f'{{"event_id": "e_{day:%Y%m%d}_', f'", "session_id": "s_{day:%Y%m%d}_'
    unknown = Random(f"{day} {profile.seed} unknown visitors")
    random = Random(f"{day} {profile.seed} events")
    rand = random.random
    # Users come in turns, not at random. Otherwise some would have no events. A LEFT JOIN would
    # count their orders once, not 0 times, and an order more than 5.0 times on average.
    visitors = list(range(profile.active))
    random.shuffle(visitors)
    lines: list[str] = []
    written = 0
    for session, user in enumerate(cycle(visitors)):
        known = unknown.random() >= profile.unknown_share
        visitor = f'", "user_id": "{KNOWN if known else UNKNOWN}{user:07d}", '
        end = f"{session_id}{session:07d}{_DEVICE_ENDS[int(rand() * len(DEVICES))]}"
        second = int(rand() * _LATEST_BEGIN)
        item = 0
        for act in SCRIPTS[int(rand() * len(SCRIPTS))][: profile.records - written]:
            if act == "v":
                item = int(rand() * len(_VIEWS))
                action = _VIEWS[item]
            else:
                action = _PURCHASES[item]
            lines.append(f"{event_id}{written:07d}{visitor}{action}{stamps[second]}{end}")
            written += 1
            second += 1 + int(rand() * _LONGEST_STEP)
        if written == profile.records:
            break
        if len(lines) >= _CHUNK:
            yield lines
            lines = []
    yield lines


def _orders(day: date, profile: DropProfile) -> Iterator[list[str]]:
    stamps = _stamps(day)
    currencies = _by_user(_CURRENCIES_OF_TRAITS, profile.active, profile)
    order_id = f'{{"order_id": "o_{day:%Y%m%d}_'
    unknown = Random(f"{day} {profile.seed} unknown buyers")
    rand = Random(f"{day} {profile.seed} orders").random
    for first in range(0, profile.records, _CHUNK):
        lines = []
        for n in range(first, min(first + _CHUNK, profile.records)):
            user = int(rand() * profile.active)
            known = unknown.random() >= profile.unknown_share
            cents = CENTS[int(rand() * len(CENTS))]
            lines.append(
                f'{order_id}{n:07d}", "user_id": "{KNOWN if known else UNKNOWN}{user:07d}'
                f"{_ORDERED[int(rand() * len(_ORDERED))]}{cents // 100}.{_HUNDREDTHS[cents % 100]}"
                f"{currencies[user]}{stamps[int(rand() * _DAY_SECONDS)]}"
                f"{_STATUS_ENDS[int(rand() * len(_STATUS_ENDS))]}"
            )
        yield lines


def _by_user(texts: list[str], users: int, profile: DropProfile) -> list[str]:
    """The text of each user's traits, which are the same for users and orders on every day."""
    assert len(texts) == len(_TRAITS)
    return Random(f"{profile.seed} traits").choices(texts, k=users)


def _stamps(day: date) -> list[str]:
    minutes = [f"{day:%Y-%m-%d}T{n // 60:02d}:{n % 60:02d}:" for n in range(24 * 60)]
    return [f"{minute}{second:02d}Z" for minute in minutes for second in range(60)]


def _break(lines: list[str], name: str, share: float, breaker: Random) -> None:
    intact = False  # A chunk's first line has no line before it to repeat.
    for n, line in enumerate(lines):
        broken = breaker.random() < share
        if broken:
            faults = FAULTS[name] if intact else FAULTS[name][: -len(_FAULTS_OF_TWO)]
            lines[n] = _broken(line, lines[n - 1], name, breaker.choice(faults), breaker)
        intact = not broken


def _broken(line: str, previous: str, name: str, fault: str, breaker: Random) -> str:
    if fault == "duplicate":
        return previous
    if fault == "truncated":
        return line[: breaker.randrange(1, len(line) - 1)] + "\n"
    fields, key = json.loads(line), _KEYS[name]
    if fault == "key_missing":
        del fields[key]
    elif fault == "conflict":
        fields[key] = json.loads(previous)[key]
    else:
        fields |= _BROKEN_FIELDS[name][fault]
    return json.dumps(fields) + "\n"


def _check_name(name: str) -> None:
    if name not in FILES:
        raise ValueError(f"name={name!r}: must be {', '.join(FILES[:-1])} or {FILES[-1]}")
