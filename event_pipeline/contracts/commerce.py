"""Commerce drops: users, events and orders as they are uploaded, by day, and their join."""

from event_pipeline.contracts.columns import Column
from event_pipeline.contracts.contract import Bronze, GoldContract, SilverContract, Total

_DROP_DATE = Column("drop_date", "date", "Day of the drop.")


def _uploads(name: str, singular: str = "") -> Bronze:
    """One dataset's files in a drop's folder."""
    names = f"{name}|{singular}" if singular else name
    return Bronze(
        f"bronze/commerce_{name}",
        "bronze/commerce/",
        # As they are uploaded, or as `load` names them: with its id, and the number of a part.
        rf"({names})\.jsonl?(\.gz)?|{name}-[0-9a-f]{{12}}(p[0-9]+)?\.jsonl\.gz",
        uploaded=True,
        expected=f"{name}.json",
    )


COMMERCE_USERS = SilverContract(
    asset="silver/commerce_users",
    description="Users of a commerce drop, each once.",
    statement="silver/commerce_users.sql",
    partition="drop_date",
    date="drop_date",
    bronze=_uploads("users", "user"),
    source=("user_id", "signup_date", "country", "device_type", "marketing_source"),
    columns=(
        Column("user_id", "string", "User."),
        Column("signup_date", "date", "When the user signed up."),
        Column("country", "string", "Country, as IN, US, EU or AU."),
        Column("device_type", "string", "mobile, PC or tablet."),
        Column("marketing_source", "string", "What brought the user."),
        _DROP_DATE,
    ),
    rules={
        "user_id_missing": "No user.",
        "user_id_placeholder": "A placeholder, such as null or (not set), or blank.",
        "user_id_invalid": "A user that is a nested value.",
        "signup_date_invalid": "The sign-up date is not an ISO 8601 date.",
    },
    key=("user_id",),
    latest="signup_date",
    order_by="drop_date DESC, user_id",
    personal=("user_id",),
)

COMMERCE_EVENTS = SilverContract(
    asset="silver/commerce_events",
    description="Product views and purchases of a commerce drop, each once.",
    statement="silver/commerce_events.sql",
    partition="drop_date",
    date="drop_date",
    bronze=_uploads("events"),
    source=(
        "event_id",
        "user_id",
        "event_type",
        "product_id",
        "event_timestamp",
        "session_id",
        "device_type",
    ),
    columns=(
        Column("event_id", "string", "Event."),
        Column(
            "user_id",
            "string",
            "User; null for a visitor who is not signed in, or a word for none.",
        ),
        Column("event_type", "string", "product_view or product_purchase."),
        Column("product_id", "string", "Product; null for a word for none."),
        Column("event_timestamp", "timestamp", "When it happened, UTC."),
        Column("session_id", "string", "Visit; null for a word for none."),
        Column("device_type", "string", "mobile, PC or tablet."),
        _DROP_DATE,
    ),
    rules={
        "event_id_missing": "No event id.",
        "event_id_placeholder": "A placeholder, such as null or (not set), or blank.",
        "event_id_invalid": "An event id that is a nested value.",
        "user_id_invalid": "A user that is a nested value.",
        "event_type_missing": "No event type.",
        "event_type_unknown": "An event type outside the two.",
        "event_timestamp_missing": "No timestamp.",
        "event_timestamp_invalid": "The timestamp is not an ISO 8601 date and time.",
    },
    key=("event_id",),
    latest="event_timestamp",
    order_by="drop_date DESC, event_timestamp, event_id",
    personal=("user_id", "session_id"),
)

COMMERCE_ORDERS = SilverContract(
    asset="silver/commerce_orders",
    description="Orders of a commerce drop, paid or not, each once.",
    statement="silver/commerce_orders.sql",
    partition="drop_date",
    date="drop_date",
    bronze=_uploads("orders"),
    source=(
        "order_id",
        "user_id",
        "product_id",
        "order_amount",
        "currency",
        "order_timestamp",
        "payment_status",
    ),
    columns=(
        Column("order_id", "string", "Order."),
        Column("user_id", "string", "User; null for a guest, or a word for none."),
        Column("product_id", "string", "Product; null for a word for none."),
        Column("order_amount", "decimal(18, 2)", "Amount, in its currency."),
        Column("currency", "string", "Currency, ISO 4217."),
        Column("order_timestamp", "timestamp", "When it was placed, UTC."),
        Column("payment_status", "string", "success, failed or in_progress."),
        _DROP_DATE,
    ),
    rules={
        "order_id_missing": "No order id.",
        "order_id_placeholder": "A placeholder, such as null or (not set), or blank.",
        "order_id_invalid": "An order id that is a nested value.",
        "user_id_invalid": "A user that is a nested value.",
        "order_amount_missing": "No amount.",
        "order_amount_invalid": "No number of at most 13 digits before the point.",
        "currency_missing": "No currency, and so nothing that the amount can be added to.",
        "currency_invalid": "A currency that is not three letters.",
        "order_timestamp_missing": "No timestamp.",
        "order_timestamp_invalid": "The timestamp is not an ISO 8601 date and time.",
        "payment_status_missing": "No payment status.",
        "payment_status_unknown": "A payment status outside the three.",
    },
    key=("order_id",),
    latest="order_timestamp",
    order_by="drop_date DESC, order_timestamp, order_id",
    personal=("user_id",),
)

_PAID = "sum(CASE WHEN payment_status = 'success' THEN order_amount END)"

USER_ACTIVITY = GoldContract(
    asset="gold/user_activity",
    description=(
        "What each user of a drop did and paid. A user who ordered in several currencies has a"
        " row for each; every number stands in one row only, so that all of them add up."
    ),
    statement="gold/user_activity.sql",
    inputs=(COMMERCE_USERS, COMMERCE_EVENTS, COMMERCE_ORDERS),
    partition="drop_date",
    columns=(
        Column("user_id", "string", "User; null for the events and orders of unknown users."),
        Column("country", "string", "Country of the user."),
        Column("total_events", "long", "Views and purchases; in the user's first row."),
        Column("total_orders", "long", "Orders in this currency, paid or not."),
        Column("revenue", "decimal(38, 2)", "Sum of the successful payments, in this currency."),
        Column("currency", "string", "Currency of the orders; null without orders."),
        Column("successful_orders", "long", "Orders whose payment succeeded."),
        Column("product_views", "long", "Events that are product views; in the first row."),
        Column("product_purchases", "long", "Events that are purchases; in the first row."),
        Column("users", "int", "1 in the first row of a known user, else 0: adds up to users."),
        Column("signup_date", "date", "When the user signed up."),
        Column("device_type", "string", "The user's mobile, PC or tablet."),
        Column("marketing_source", "string", "What brought the user."),
        _DROP_DATE,
    ),
    order_by="drop_date DESC, revenue DESC, user_id, currency",
    personal=("user_id",),
    totals=(
        Total("users", "count(*)", COMMERCE_USERS),
        Total("total_events", "count(*)", COMMERCE_EVENTS),
        Total("total_orders", "count(*)", COMMERCE_ORDERS, by="currency"),
        Total("revenue", _PAID, COMMERCE_ORDERS, by="currency"),
    ),
    chart=("user_id", "revenue"),
    unattributed="user_id",
)
