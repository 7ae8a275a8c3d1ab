"""The clickstream: events as they arrive, by hour, and the five questions asked of them."""

from event_pipeline.contracts.columns import Column
from event_pipeline.contracts.contract import (
    Bronze,
    GoldContract,
    RollUpContract,
    SilverContract,
    Total,
)

EVENTS = SilverContract(
    asset="silver/events",
    description="Clickstream events: typed, judged, each line of an arrival hour once.",
    statement="silver/events.sql",
    partition="arrival_hour",
    source=(
        "timestamp",
        "user_id",
        "session_id",
        "event_type",
        "product_id",
        "quantity",
        "price",
        "category",
        "search_query",
    ),
    columns=(
        Column("event_ts", "timestamp", "When it happened, UTC."),
        Column("event_date", "date", "Date of event_ts, UTC."),
        Column("user_id", "string", "Visitor."),
        Column("session_id", "string", "Visit."),
        Column(
            "event_type", "string", "page_view, add_to_cart, remove_from_cart, purchase or search."
        ),
        Column("product_id", "string", "Product; null for a search, or a word for none."),
        Column("category", "string", "Category of the product; null for a search."),
        Column("quantity", "int", "Units, for add, remove and purchase; null if negative."),
        Column("price", "decimal(10, 2)", "Price of one unit; null if negative."),
        Column("revenue", "decimal(18, 2)", "price x quantity of a purchase; else null."),
        Column("search_query", "string", "What was searched for."),
        Column("arrival_hour", "timestamp", "Hour in which the line arrived, UTC."),
    ),
    rules={
        "timestamp_missing": "No timestamp.",
        "timestamp_invalid": "The timestamp is not an ISO 8601 date and time.",
        "user_id_missing": "No user.",
        "user_id_placeholder": "A placeholder, such as null or (not set), or blank.",
        "session_id_missing": "No session.",
        "session_id_placeholder": "A placeholder for no session, or blank.",
        "event_type_missing": "No event type.",
        "event_type_unknown": "An event type outside the five.",
        "quantity_invalid": "A quantity that is not a number of at most eight digits.",
        "price_invalid": "A price that is not a number of at most eight digits before the point.",
    },
    date="event_date",
    bronze=Bronze(
        "bronze/events",
        "bronze/events/",
        # The producer's name, with an optional suffix for files that a person loads.
        r"minute=\d\d/events-\d{8}-\d{6}(-[0-9a-z]+)?\.jsonl\.gz",
        expected="minute=05/events-20261124-010500.jsonl.gz",
        produced=True,
    ),
    order_by="event_ts, user_id",
    personal=("user_id", "session_id", "search_query"),
)

_ARRIVAL_HOUR = next(c for c in EVENTS.columns if c.name == EVENTS.partition)

EVENT_COUNTS = RollUpContract(
    asset="silver/event_counts",
    description="Events of each arrival hour, counted by event hour, kind, product and category.",
    statement="roll_ups/event_counts.sql",
    of=EVENTS,
    partition="arrival_hour",
    columns=(
        Column("event_date", "date", "Date of the events, UTC."),
        Column("event_hour", "int", "Hour of the events, UTC, 0 to 23."),
        Column("event_type", "string", "Kind of event."),
        Column("product_id", "string", "Product; null for events without one."),
        Column("category", "string", "Category; null for events without one."),
        Column("events", "long", "Events."),
        Column("units", "long", "Sum of their quantities; null if none has one."),
        Column("revenue", "decimal(38, 2)", "Sum of their revenue; null if none has any."),
        _ARRIVAL_HOUR,
    ),
    order_by="arrival_hour, event_date, event_hour, event_type, product_id",
)

EVENT_VISITORS = RollUpContract(
    asset="silver/event_visitors",
    description="Distinct users and sessions of each arrival hour, by event date.",
    statement="roll_ups/event_visitors.sql",
    of=EVENTS,
    partition="arrival_hour",
    columns=(
        Column("event_date", "date", "Date of the events, UTC."),
        Column("kind", "string", "user or session."),
        Column("id", "string", "The user's or session's id."),
        _ARRIVAL_HOUR,
    ),
    order_by="arrival_hour, event_date, kind, id",
    personal=("id",),
)

_EVENT_DATE = Column("event_date", "date", "Date of the events, UTC.")
_EVENT_DAY = Column("event_day", "date", "Date of the events, UTC.")

CONVERSION_FUNNEL = GoldContract(
    asset="gold/conversion_funnel",
    description="How far each product's views go: the 1,000 most viewed of each day.",
    statement="gold/conversion_funnel.sql",
    rolled="gold/rolled/conversion_funnel.sql",
    roll_ups=(EVENT_COUNTS,),
    dialect="athena",
    inputs=(EVENTS,),
    partition="event_date",
    columns=(
        Column("product_id", "string", "Product."),
        Column("views", "long", "Page views."),
        Column("adds", "long", "Additions to a cart."),
        Column("purchases", "long", "Purchases."),
        Column("view_to_add_rate", "double", "adds / views; 0 without views."),
        Column("add_to_purchase_rate", "double", "purchases / adds; 0 without adds."),
        Column("view_to_purchase_rate", "double", "purchases / views; 0 without views."),
        _EVENT_DATE,
    ),
    order_by="event_date DESC, views DESC, product_id",
    totals=(
        Total(
            "views",
            "count_if(event_type = 'page_view' AND product_id IS NOT NULL)",
            exact=False,
        ),
        Total(
            "adds",
            "count_if(event_type = 'add_to_cart' AND product_id IS NOT NULL)",
            exact=False,
        ),
        Total(
            "purchases",
            "count_if(event_type = 'purchase' AND product_id IS NOT NULL)",
            exact=False,
        ),
    ),
    chart=("product_id", "views"),
)

HOURLY_REVENUE = GoldContract(
    asset="gold/hourly_revenue",
    description="What was bought in each hour.",
    statement="gold/hourly_revenue.sql",
    rolled="gold/rolled/hourly_revenue.sql",
    roll_ups=(EVENT_COUNTS,),
    dialect="athena",
    inputs=(EVENTS,),
    partition="event_date",
    columns=(
        Column("year", "int", "Year of the hour, UTC."),
        Column("month", "int", "Month, 1 to 12."),
        Column("day", "int", "Day of the month."),
        Column("hour", "int", "Hour, 0 to 23."),
        Column("total_revenue", "decimal(38, 2)", "Sum of the purchases' revenue."),
        Column("units_sold", "long", "Sum of the purchases' quantities."),
        Column("purchase_events", "long", "Purchases."),
        _EVENT_DATE,
    ),
    order_by="year, month, day, hour",
    totals=(
        Total("total_revenue", "sum(revenue)"),
        Total("units_sold", "sum(CASE WHEN event_type = 'purchase' THEN quantity END)"),
        Total("purchase_events", "count_if(event_type = 'purchase')"),
    ),
    chart=("hour", "total_revenue"),
)

TOP_PRODUCTS = GoldContract(
    asset="gold/top_products",
    description="The ten most viewed products of each day.",
    statement="gold/top_products.sql",
    rolled="gold/rolled/top_products.sql",
    roll_ups=(EVENT_COUNTS,),
    dialect="athena",
    inputs=(EVENTS,),
    partition="event_date",
    columns=(
        Column("product_id", "string", "Product."),
        Column("category", "string", "Category of the product."),
        Column("view_count", "long", "Page views."),
        _EVENT_DATE,
    ),
    order_by="event_date DESC, view_count DESC, product_id",
    totals=(Total("view_count", "count_if(event_type = 'page_view')", exact=False),),
    chart=("product_id", "view_count"),
)

CATEGORY_PERFORMANCE = GoldContract(
    asset="gold/category_performance",
    description="Every event of each day, by category and kind.",
    statement="gold/category_performance.sql",
    rolled="gold/rolled/category_performance.sql",
    roll_ups=(EVENT_COUNTS,),
    dialect="athena",
    inputs=(EVENTS,),
    partition="event_day",
    columns=(
        _EVENT_DAY,
        Column("category", "string", "Category; null for events without one, such as searches."),
        Column("total_events", "long", "All events."),
        Column("page_views", "long", "Page views."),
        Column("adds", "long", "Additions to a cart."),
        Column("removes", "long", "Removals from a cart."),
        Column("purchases", "long", "Purchases."),
        Column("searches", "long", "Searches."),
    ),
    order_by="event_day DESC, total_events DESC, category",
    totals=(
        Total("total_events", "count(*)"),
        Total("page_views", "count_if(event_type = 'page_view')"),
        Total("purchases", "count_if(event_type = 'purchase')"),
    ),
    chart=("category", "total_events"),
)

DAILY_USER_ACTIVITY = GoldContract(
    asset="gold/daily_user_activity",
    description="How many users and sessions each day had, and their events.",
    statement="gold/daily_user_activity.sql",
    rolled="gold/rolled/daily_user_activity.sql",
    roll_ups=(EVENT_COUNTS, EVENT_VISITORS),
    dialect="athena",
    inputs=(EVENTS,),
    partition="event_day",
    columns=(
        _EVENT_DAY,
        Column("unique_users", "long", "Distinct users."),
        Column("unique_sessions", "long", "Distinct sessions."),
        Column("total_events", "long", "All events."),
    ),
    order_by="event_day DESC",
    totals=(Total("total_events", "count(*)"),),
    chart=None,
)
