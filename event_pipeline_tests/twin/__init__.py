"""The local AWS twin: ministack on 127.0.0.1, in which Glue jobs and Athena queries really run.

`python -m event_pipeline_tests.twin` starts it; tests use `server.Twin`.

ministack keeps S3, SQS, IAM, CloudFormation and the Glue catalog, and runs the Lambda on its
schedule. Here is what it only pretends: job runs execute their script on local PySpark (`glue`,
with S3 by `hadoop`), statements execute on DuckDB (`athena`), each with its caller's permissions.
Every call is written down (`recorder`), and a test may ask for delays and failures (`orders`).

Not shown by it: Trino's own semantics, KMS, Glue's runtime, time and cost.
"""
