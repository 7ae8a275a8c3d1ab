"""What a person is told when AWS refuses, or cannot be asked."""

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoRegionError
from typer.testing import CliRunner

from event_pipeline.aws import complaint
from event_pipeline.cli import app
from event_pipeline.settings import OF_AWS, PREFIX
from event_pipeline_tests.twin.graph import environment

DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "not you"}}, "GetTable")
EXPIRED = ClientError({"Error": {"Code": "ExpiredToken", "Message": "-"}}, "GetTable")


def hidden(cause: Exception) -> Exception:
    """What a package raises that calls AWS for us."""
    try:
        raise RuntimeError("failed") from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DENIED, "GetTable: AccessDenied: not you"),
        (hidden(DENIED), "GetTable: AccessDenied: not you"),
        (EXPIRED, "the AWS credentials have expired: sign in again"),
        (NoRegionError(), "no region is set: set AWS_REGION"),
        (EndpointConnectionError(endpoint_url="http://aws"), "Could not connect to the endpoint"),
    ],
)
def test_what_aws_says_is_a_line(error: Exception, said: str) -> None:
    found = complaint(error)
    assert found is not None
    assert found.startswith(said)
    assert len(found.splitlines()) == 1


def test_other_errors_are_not_aws_s() -> None:
    assert complaint(hidden(ValueError("bug"))) is None


@pytest.mark.parametrize("command", ["status", "ledger", "query daily_user_activity", "sync"])
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "event-pipeline: Partial credentials found in env"),
        ("AWS_ACCESS_KEY_ID", "event-pipeline: Unable to locate credentials"),
        ("AWS_DEFAULT_REGION", "event-pipeline: no region is set"),
    ],
)
def test_a_command_that_cannot_ask_aws_says_what_to_do(
    command: str, missing: str, said: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    values = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": str(home / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        # Should it be asked all the same.
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        f"{PREFIX}HOME": str(home),
        f"{PREFIX}TARGET": "aws",
        **{PREFIX + name.upper(): "x" for name in OF_AWS},
    }
    del values[missing]
    with environment(values):
        result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1
