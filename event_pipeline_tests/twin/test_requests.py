"""How many requests S3 is sent, since it charges for each."""

from event_pipeline.lake.s3 import S3FileIO
from event_pipeline_tests.twin.conftest import LAKE
from event_pipeline_tests.twin.graph import environment
from event_pipeline_tests.twin.server import Twin


def test_a_small_file_is_written_by_one_request(twin: Twin) -> None:
    before = len(twin.calls())
    with environment(twin.environment):
        with S3FileIO().new_output(f"s3://{LAKE}/small").create(overwrite=True) as file:
            file.write(b"123")
        body = twin.client("s3").get_object(Bucket=LAKE, Key="small")["Body"].read()
    assert body == b"123"
    actions = [call.action for call in twin.calls()[before:]]
    assert actions.count("s3:PutObject") == 1
    assert {action for action in actions if "Multipart" in action} == set()
