"""What all sections look at; each part of it is read only once."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property, partial
from typing import Any, overload

import dagster as dg

from event_pipeline.assets.keys import asset_key
from event_pipeline.contracts import Contract, GoldContract, MadeContract, SilverContract
from event_pipeline.home import reading_instance
from event_pipeline.lake.inventory import Inventory, take_inventory
from event_pipeline.lake.objects import Objects
from event_pipeline.lake.receipts import GoldReceipt, Receipt, SilverReceipt
from event_pipeline.lake.tables import Lake, Live
from event_pipeline.recorded import recorded_versions
from event_pipeline.settings import Settings

# How many receipts are read at once: they are small, but each may be a call to S3.
READ_AT_ONCE = 16


@dataclass(eq=False)
class View:
    """Bronze, the lake and Dagster's record as they are now. Raises what reading them raises.

    With `since`, only partitions of this day and of later ones are looked at.
    """

    settings: Settings
    instance: dg.DagsterInstance
    now: datetime
    since: date | None = None

    @classmethod
    @contextmanager
    def open(
        cls,
        settings: Settings,
        instance: dg.DagsterInstance | None = None,
        since: date | None = None,
    ) -> Iterator["View"]:
        """Opens a view of the settings' home, with the given instance or the home's own."""
        with nullcontext(instance) if instance else reading_instance(settings) as opened:
            yield cls(settings, opened, datetime.now(UTC), since)

    @property
    def first(self) -> str:
        """The first day (ISO) that is looked at."""
        return max(self.settings.first_day, self.since or date.min).isoformat()

    @property
    def _since(self) -> str:
        return self.since.isoformat() if self.since else ""

    @cached_property
    def objects(self) -> Objects:
        """Bronze's objects."""
        return Objects(root=self.settings.root)

    @cached_property
    def lake(self) -> Lake:
        """The tables."""
        return Lake.of(self.settings)

    @cached_property
    def inventory(self) -> Inventory:
        """All that lies under Bronze, or in the folders of the days that are looked at."""
        return take_inventory(self.objects, self.settings.first_day, self.now, self.since)

    @cached_property
    def _memo(self) -> dict[Any, Any]:
        return {}

    def _cached(self, question: Callable[[Contract], Any], contract: Contract) -> Any:
        key = (question.__name__, contract.asset)
        if key not in self._memo:
            self._memo[key] = question(contract)
        return self._memo[key]

    def live(self, contract: Contract) -> Mapping[str, Live]:
        """The live files of a table, by partition key."""

        def live(contract: Contract) -> dict[str, Live]:
            return self.lake.live(contract, since=self._since)

        found: Mapping[str, Live] = self._cached(live, contract)
        return found

    def rolled_back(self, contract: Contract) -> Mapping[str, str]:
        """The partitions of a table that are as a rollback left them: key -> run."""
        found: Mapping[str, str] = self._cached(self.lake.rolled_back, contract)
        return found

    def recorded(self, contract: Contract) -> Mapping[str, str]:
        """The digest that Dagster has on record for each partition of a table."""

        def recorded(contract: Contract) -> dict[str, str]:
            found = recorded_versions(self.instance, asset_key(contract))
            return {key: version for key, version in found.items() if key >= self._since}

        found: Mapping[str, str] = self._cached(recorded, contract)
        return found

    def touched(self, contract: SilverContract) -> Mapping[str, float]:
        """Event date -> when a build of a Silver table last touched it (Unix seconds)."""
        days: dict[str, float] = {}
        for receipt in self.receipts(contract).values():
            for day in receipt.touched if receipt else ():
                # An event may be of any year, but Gold has only years of four digits.
                if len(day) == len("2026-11-24"):
                    days[day] = max(days.get(day, 0), receipt.built_at if receipt else 0)
        return days

    @overload
    def receipts(self, contract: SilverContract) -> Mapping[str, SilverReceipt | None]: ...
    @overload
    def receipts(self, contract: GoldContract) -> Mapping[str, GoldReceipt | None]: ...
    def receipts(self, contract: MadeContract) -> Mapping[str, Receipt | None]:
        """The receipt of each live partition of a table; None if it is lost."""

        def receipts(contract: Contract) -> dict[str, Receipt | None]:
            live = self.live(contract)
            with ThreadPoolExecutor(READ_AT_ONCE) as threads:
                found = threads.map(partial(self.lake.receipt, contract), live.values())
                return dict(zip(live, found, strict=True))

        found: Mapping[str, Receipt | None] = self._cached(receipts, contract)
        return found
