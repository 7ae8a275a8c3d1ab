"""Clickstream events of a 5-minute slot: the same lines each time. Standard library only.

A line is what `json.dumps` gives for the nine keys, all present and in the source's order.
Lines are joined from ready-made text, because `json.dumps` alone would cost several times the
1.5 microseconds that an event takes here, gzip included.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import itemgetter
from random import Random
from typing import Literal, NamedTuple, get_args

SLOT = timedelta(minutes=5)

CATEGORIES = ("electronics", "clothing", "home", "books", "sports", "toys")
PRODUCTS = {
    f"p_{1000 * shelf + n}": category
    for shelf, category in enumerate(CATEGORIES, 1)
    for n in range(1, 6)
}
SEARCHES = (
    "wireless headphones",
    "desk lamp",
    "python books",
    "laptop stand",
    "yoga mat",
    "coffee maker",
    "running shoes",
    "board games",
)
IDS = range(10_000, 100_000)  # of users and of sessions
QUANTITIES = range(1, 6)
CENTS = range(999, 30_000)  # of a price; the mean purchase is 3 x 154.99 = 464.97

# Percent of events, as in the source. Prices and quantities are independent of the rest, so the
# weights determine every rate of the funnel and the mean revenue.
WEIGHTS = {
    "page_view": 50,
    "add_to_cart": 20,
    "remove_from_cart": 10,
    "purchase": 10,
    "search": 10,
}

# What a visitor does: [V]iew, [A]dd, [R]emove or [P]urchase the session's nth product, or
# [S]earch. Together the scripts have the shares of WEIGHTS, so a uniform choice keeps them.
# Ten events on average, so that 750,000 events need fewer sessions than there are ids.
SCRIPTS = (
    "V0 V1 S V2",
    "S V0 V1 A1 V2 A0 R1 V3 P0",
    "V0 V1 A1 R1 V2 S V3 A3 R3 V4",
    "V0 A0 V1 V2 A2 R0 V3 S V4 A4 V5 P2 P4",
    "S V0 V1 A1 V2 V3 A3 V4 R1 V5 A5 V6 P3 P5",
)

# How a line is broken, the way real feeds break. The last one repeats the line before it.
_BROKEN_FIELDS: dict[str, dict[str, str | None]] = {
    "user_id_missing": {"user_id": None},
    "timestamp_invalid": {"timestamp": "19/11/2025 17:54:54"},
    "event_type_unknown": {"event_type": "wishlist"},
    "price_invalid": {"price": "n/a"},
}
FAULTS = (*_BROKEN_FIELDS, "truncated", "duplicate")

Mode = Literal["sessions", "original"]


@dataclass(frozen=True)
class Profile:
    """What a slot is filled with.

    events: mean events a slot; a slot has 0.8 to 1.2 times as many, so 625,000 gives the
    source's 500,000 to 750,000. mode: "sessions", where visitors buy what they viewed, or
    "original", where each event is independent and has the object's one timestamp.
    late_share: share of events stamped 1 to 26 hours before the slot; whole sessions in mode
    "sessions". fault_share: share of lines replaced by broken ones, by each of FAULTS equally
    often.

    Raises ValueError naming the field that cannot be used.
    """

    events: int = 625_000
    seed: int = 0
    mode: Mode = "sessions"
    late_share: float = 0.0
    fault_share: float = 0.0

    def __post_init__(self) -> None:
        if self.events < 1:
            raise ValueError(f"events={self.events!r}: must be at least 1")
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode={self.mode!r}: must be {' or '.join(get_args(Mode))}")
        for name in ("late_share", "fault_share"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise ValueError(f"{name}={share!r}: must be from 0 to 1")


def event_count(slot: datetime, profile: Profile) -> int:
    """Number of lines of the slot's object."""
    return max(1, round(profile.events * _random(slot, profile, "count").uniform(0.8, 1.2)))


def generate(slot: datetime, profile: Profile) -> Iterator[bytes]:
    """JSON lines of the slot that starts at `slot` (aware), in chunks of whole lines.

    A chunk is about 115 kB. The lines depend on the slot and the profile alone, and late_share
    and fault_share change only the lines that are late or broken. Lines of a session follow
    each other in time; sessions are in no particular order.
    """
    make = _sessions if profile.mode == "sessions" else _independent_events
    breaker = _random(slot, profile, "faults")
    for parts in make(slot.astimezone(UTC), profile):
        text = "".join(parts)
        if profile.fault_share:
            text = _with_faults(text.splitlines(keepends=True), profile.fault_share, breaker)
        yield text.encode("ascii")


# Lines of a chunk: larger ones cost a third of the speed, as they leave the processor's cache.
_CHUNK = 512
# A line is four parts: stamp, digits, visitor and event. The stamp ends in hundredths of a
# second (a tick), the digits complete the microseconds; both come from tables.
_PARTS = 4
_STAMP_SECOND = slice(len('{"timestamp": "'), len('{"timestamp": "2025-11-19T17:54:54'))
_TICK_US = 10_000
_SLOT_US = SLOT // timedelta(microseconds=1)
_SHORTEST_STEP_US = 1_000_000  # between two events of a session, on average
_ORIGINAL_US = 718_325  # from the slot's start: the one timestamp in an object of the original

_KIND = {kind: f'"event_type": "{kind}", ' for kind in WEIGHTS}
_SEARCH_EVENTS = [
    f'{_KIND["search"]}"product_id": null, "quantity": null, "price": null, "category": null, '
    f'"search_query": "{query}"}}\n'
    for query in SEARCHES
]
_VIEW_EVENTS = [
    f'{_KIND["page_view"]}"product_id": "{product}", "quantity": null, "price": null, '
    f'"category": "{category}", "search_query": null}}\n'
    for product, category in PRODUCTS.items()
]
_CART_EVENTS = [  # what stands before the quantity, and after the price
    (
        f'"product_id": "{product}", "quantity": ',
        f', "category": "{category}", "search_query": null}}\n',
    )
    for product, category in PRODUCTS.items()
]


class _Script(NamedTuple):
    """A script of `length` events, ready to be filled from a session's texts.

    The texts are a view of each product, a search, and two for each product that is added: its
    add, and its removal or purchase. `ends` has those products and, for each, the beginning of the
    second text. `pick` takes the script's events, in order, from the texts.
    """

    length: int
    ends: list[tuple[int, str]]
    pick: Callable[[list[str]], tuple[str, ...]]


_TOUR_LENGTH = 7  # products that a session may view
# Strides without a common factor with 30 never meet a product twice within a session.
_TOURS = [
    [(first + n * stride) % len(PRODUCTS) for n in range(_TOUR_LENGTH)]
    for first in range(len(PRODUCTS))
    for stride in (1, 7, 11, 13, 17, 19, 23, 29)
]
_TOUR_VIEWS = [[_VIEW_EVENTS[product] for product in tour] for tour in _TOURS]


def _compiled(script: str) -> _Script:
    events = script.split()
    kinds = {"R": _KIND["remove_from_cart"], "P": _KIND["purchase"]}
    ends = {event[1:]: kinds[event[0]] for event in events if event[0] in kinds}
    index = {f"V{n}": n for n in range(_TOUR_LENGTH)} | {"S": _TOUR_LENGTH}
    for n, product in enumerate(ends):
        index["A" + product] = _TOUR_LENGTH + 1 + 2 * n
        index["R" + product] = index["P" + product] = _TOUR_LENGTH + 2 + 2 * n
    return _Script(
        length=len(events),
        ends=[(int(product), kind) for product, kind in ends.items()],
        pick=itemgetter(*(index[event] for event in events)),
    )


_SCRIPTS = [_compiled(script) for script in SCRIPTS]


def _sessions(slot: datetime, profile: Profile) -> Iterator[list[str]]:
    stamps, digits, prices = _stamps(slot), _digits(), _prices()
    visitors = _random(slot, profile, "visitors")
    user, session = visitors.randrange(len(IDS)), visitors.randrange(len(IDS))
    late = _random(slot, profile, "late")
    rand = _random(slot, profile, "events").random
    left = event_count(slot, profile)
    parts: list[str] = []
    while left > 0:
        # Primes that do not divide 90,000: all ids are used before any comes again, and if
        # one does, it is the same user with the same session.
        user = (user + 7_919) % len(IDS)
        session = (session + 104_729) % len(IDS)
        visitor = f'+00:00", "user_id": "u_{IDS[user]}", "session_id": "s_{IDS[session]}", '
        length, ends, pick = _SCRIPTS[int(rand() * len(_SCRIPTS))]
        tour = int(rand() * len(_TOURS))
        texts = [*_TOUR_VIEWS[tour], _SEARCH_EVENTS[int(rand() * len(SEARCHES))]]
        for product, end in ends:
            before, after = _CART_EVENTS[_TOURS[tour][product]]
            quantity = QUANTITIES[int(rand() * len(QUANTITIES))]
            cart = f"{before}{quantity}{prices[int(rand() * len(CENTS))]}{after}"
            texts += (_KIND["add_to_cart"] + cart, end + cart)
        # Each of `length` equal steps has one event, at a random time, so that times increase.
        step = _SHORTEST_STEP_US + int(rand() * (_SLOT_US // length - _SHORTEST_STEP_US))
        begin = int(rand() * (_SLOT_US - length * step))
        first_part = len(parts)
        for event in pick(texts)[:left]:
            moment = begin + int(rand() * step)
            parts += (stamps[moment // _TICK_US], digits[moment % _TICK_US], visitor, event)
            begin += step
        if profile.late_share and late.random() < profile.late_share:
            _make_late(parts, first_part, late)
        left -= length
        if len(parts) >= _CHUNK * _PARTS:
            yield parts
            parts = []
    yield parts


def _independent_events(slot: datetime, profile: Profile) -> Iterator[list[str]]:
    stamp, digits = _stamps(slot)[_ORIGINAL_US // _TICK_US], _digits()[_ORIGINAL_US % _TICK_US]
    prices = _prices()
    late = _random(slot, profile, "late")
    random = _random(slot, profile, "events")
    rand = random.random
    count = event_count(slot, profile)
    for done in range(0, count, _CHUNK):
        parts: list[str] = []
        kinds = random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=min(_CHUNK, count - done))
        for kind in kinds:
            product = int(rand() * len(PRODUCTS))
            if kind == "page_view":
                event = _VIEW_EVENTS[product]
            elif kind == "search":
                event = _SEARCH_EVENTS[int(rand() * len(SEARCHES))]
            else:
                before, after = _CART_EVENTS[product]
                quantity = QUANTITIES[int(rand() * len(QUANTITIES))]
                price = prices[int(rand() * len(CENTS))]
                event = f"{_KIND[kind]}{before}{quantity}{price}{after}"
            user, session = IDS[int(rand() * len(IDS))], IDS[int(rand() * len(IDS))]
            visitor = f'+00:00", "user_id": "u_{user}", "session_id": "s_{session}", '
            parts += (stamp, digits, visitor, event)
            if profile.late_share and late.random() < profile.late_share:
                _make_late(parts, len(parts) - _PARTS, late)
        yield parts


def _make_late(parts: list[str], first_part: int, late: Random) -> None:
    """Move the lines from `first_part` on to 1 to 26 hours before their slot."""
    delay = timedelta(seconds=late.randint(3600 + 300, 26 * 3600))
    for n in range(first_part, len(parts), _PARTS):
        second = parts[n][_STAMP_SECOND]
        moved = datetime.fromisoformat(second) - delay
        parts[n] = parts[n].replace(second, moved.isoformat())


def _with_faults(lines: list[str], share: float, breaker: Random) -> str:
    for n, line in enumerate(lines):
        if breaker.random() < share:
            fault = breaker.choice(FAULTS if n else FAULTS[:-1])
            if fault == "duplicate":
                lines[n] = lines[n - 1]
            elif fault == "truncated":
                lines[n] = line[: breaker.randrange(1, len(line) - 1)] + "\n"
            else:
                lines[n] = json.dumps(json.loads(line) | _BROKEN_FIELDS[fault]) + "\n"
    return "".join(lines)


def _random(slot: datetime, profile: Profile, purpose: str) -> Random:
    # Text is hashed with SHA-512, so that neighbouring slots and seeds have nothing in common.
    return Random(f"{slot.astimezone(UTC).isoformat()} {profile.seed} {purpose}")


def _stamps(slot: datetime) -> list[str]:
    seconds = (slot + timedelta(seconds=n) for n in range(SLOT // timedelta(seconds=1)))
    hundredths = [f".{n:02d}" for n in range(100)]
    starts = [f'{{"timestamp": "{second:%Y-%m-%dT%H:%M:%S}' for second in seconds]
    return [start + hundredth for start in starts for hundredth in hundredths]


@cache
def _digits() -> list[str]:
    return [f"{n:04d}" for n in range(_TICK_US)]


@cache
def _prices() -> list[str]:
    return [f', "price": {json.dumps(cents / 100)}' for cents in CENTS]
