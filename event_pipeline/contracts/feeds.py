"""Where others' events lie, and how: ready to be a clickstream's `bronze`.

Each follows its maker's documentation. The prefix, and in a bucket of several sources the first
part of the layout, are yours to change; so are the mappings under `sql/feeds`.
"""

from event_pipeline.contracts.contract import Bronze

# Amazon Data Firehose: by hour, objects without line ends; records have the dataset's own fields.
# https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html
FIREHOSE = Bronze("bronze/events", "firehose/", layout="{yyyy}/{MM}/{dd}/{HH}/")

# Segment: a folder for each source and day.
# https://segment.com/docs/connections/storage/catalog/aws-s3/
SEGMENT = Bronze(
    "bronze/events",
    "segment-logs/",
    layout="*/{day_ms}/",
    mapping="feeds/segment.sql",
    each="properties.products",
)

# RudderStack: a folder for each source and day; the calls are Segment's.
# https://www.rudderstack.com/docs/destinations/streaming-destinations/amazon-s3/
RUDDERSTACK = Bronze(
    "bronze/events",
    "rudder-logs/",
    layout="*/{MM}-{dd}-{yyyy}/",
    mapping="feeds/segment.sql",
    each="properties.products",
)

# Snowplow: a folder for each run of the loader, enriched events as JSON.
# https://docs.snowplow.io/docs/pipeline-components-and-applications/loaders-storage-targets/
SNOWPLOW = Bronze(
    "bronze/events",
    "enriched/",
    layout="run={yyyy}-{MM}-{dd}-{HH}-*/",
    mapping="feeds/snowplow.sql",
)

# Google Analytics 4: the days of its BigQuery export, extracted as JSON.
# https://support.google.com/analytics/answer/7029846
GA4 = Bronze(
    "bronze/events",
    "ga4/",
    layout="events_{yyyy}{MM}{dd}*",
    mapping="feeds/ga4.sql",
    each="items",
)
