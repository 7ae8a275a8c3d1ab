"""The inventory of Bronze: every object is read by a partition, or listed with the reason."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from event_pipeline.bronze import BRONZE, LOADS, MANIFESTS
from event_pipeline.contracts import SILVER, SilverContract
from event_pipeline.lake.listing import BronzeObject, NoObject, shown
from event_pipeline.lake.objects import Listing, Objects, may_lie_in, of_dataset, owner
from event_pipeline.partitions import DAY

MANIFEST_END = ".json"

FOREIGN = "foreign name"
NO_PARTITION = "no partition's folder"
NO_SUCH_TIME = "no such day or hour"
TOO_OLD = "before the first day"
TO_COME = "yet to come"
SOON = "of the next partition, which begins soon"
MARKER = "a writer's marker"
# The kinds of unread keys that need nobody.
HARMLESS = (SOON, MARKER)
NO_DATASET = "under no dataset"
ORPHAN = "manifest without its object"
UNREADABLE = "no object, or unreadable"


@dataclass(frozen=True)
class Unread:
    """A key under Bronze that no partition reads.

    `kind` is one of the constants above, and `why` tells a person the reason in one line.
    """

    key: str
    kind: str
    why: str

    @property
    def needs_attention(self) -> bool:
        """Whether it stays unread unless somebody does something."""
        return self.kind not in HARMLESS


@dataclass(frozen=True)
class Inventory:
    """What lies under Bronze.

    `partitions`: dataset -> partition key -> the objects that are read. `unread` lists everything
    else, except the pipeline's own manifests and records of loads.
    """

    partitions: dict[SilverContract, dict[str, Listing]]
    unread: tuple[Unread, ...]

    def of(self, contract: SilverContract) -> dict[str, Listing]:
        """The objects of a dataset that are read, by partition key."""
        return self.partitions.get(contract, {})


def take_inventory(
    objects: Objects, first_day: date, now: datetime, since: date | None = None
) -> Inventory:
    """Lists all of Bronze once; `now` (aware) tells which partitions have begun.

    With `since`, lists only the folders of this day's partitions and of later ones, up to tomorrow.
    """
    if since is None:
        items = objects.everything()
    else:
        tomorrow = now.date() + DAY
        items = objects.of_days([since + n * DAY for n in range((tomorrow - since) // DAY + 1)])
    # By the dataset's name, because a contract takes longer to hash than an object to list.
    read: dict[str, dict[str, list[BronzeObject]]] = defaultdict(lambda: defaultdict(list))
    hidden: list[NoObject] = []
    unread: list[Unread] = []
    keys, manifests = set(), []
    for item in items:
        keys |= {item.key} if not item.root else set()
        if isinstance(item, NoObject):
            unread.append(Unread(_shown(item), UNREADABLE, item.why))
            hidden += [item] if item.hidden else []
        elif not item.root and item.key.startswith(MANIFESTS) and item.key.endswith(MANIFEST_END):
            manifests.append(item.key)
        elif item.root or not item.key.startswith(LOADS):
            try:
                contract, key = _place(item, first_day, now)
            except _NotRead as why:
                unread.append(Unread(_shown(item), *why.args))
            else:
                read[contract.asset][key].append(item)
    unread += _orphans(manifests, keys)
    partitions = {
        contract: {
            key: Listing(
                tuple(sorted(found, key=lambda o: o.key)),
                hidden=tuple(
                    h
                    for h in hidden
                    if h.root == contract.bronze.root and may_lie_in(contract, key, h.key)
                ),
            )
            for key, found in sorted(read[contract.asset].items())
        }
        for contract in SILVER
        if contract.asset in read
    }
    return Inventory(partitions, tuple(sorted(unread, key=lambda u: (u.kind, u.key))))


class _NotRead(Exception):
    """Raised, with a kind and the reason, for an object that no partition reads."""


def _shown(item: BronzeObject | NoObject) -> str:
    """An object as a person finds it: its key in the lake, or all of its path elsewhere."""
    return shown(f"{item.root}/{item.key}" if item.root else item.key)


def _place(item: BronzeObject, first_day: date, now: datetime) -> tuple[SilverContract, str]:
    """The dataset and the key of the partition that read an object. Raises _NotRead."""
    key, sharing = item.key, of_dataset(item)
    if not sharing:
        prefixes = sorted({each.bronze.prefix for each in SILVER})
        raise _NotRead(NO_DATASET, f"datasets lie under {', '.join(prefixes)}")
    if _is_marker(item):
        raise _NotRead(MARKER, "as Spark and others leave them; it holds no data")
    prefix, cadence, layout = sharing[0].bronze.prefix, sharing[0].cadence, sharing[0].layout
    partition, name = layout.split(key.removeprefix(prefix))
    if partition is None:
        form = layout.folder(cadence.key(now))
        raise _NotRead(NO_PARTITION, f"partitions are folders like {prefix}{form}")
    start = cadence.moment(partition)
    if start is None:
        raise _NotRead(NO_SUCH_TIME, f"there is no {partition}")
    contract = owner(sharing, name)
    if contract is None:
        names = " or ".join(each.bronze.expected or each.bronze.names for each in sharing)
        raise _NotRead(FOREIGN, f"its name does not match: expected {names}")
    if start.date() < first_day:
        raise _NotRead(TOO_OLD, f"set EVENT_PIPELINE_FIRST_DAY={start:%Y-%m-%d} to read it")
    if start > now:
        kind = SOON if start - now <= cadence.step else TO_COME
        raise _NotRead(kind, f"it is read from {start:%Y-%m-%d %H:%M} UTC on")
    return contract, partition


def _is_marker(item: BronzeObject) -> bool:
    """Whether an object is by its name no data, as _SUCCESS, and is empty or a checksum."""
    name = item.key.rpartition("/")[2]
    return name.startswith(("_", ".")) and (not item.bytes or name.endswith(".crc"))


def _orphans(manifests: list[str], keys: set[str]) -> Iterator[Unread]:
    for manifest in manifests:
        key = BRONZE + manifest.removeprefix(MANIFESTS).removesuffix(MANIFEST_END)
        if key not in keys:
            yield Unread(shown(manifest), ORPHAN, f"its object {shown(key)} is gone")
