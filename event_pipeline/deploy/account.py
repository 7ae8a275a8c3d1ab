"""The AWS account that is deployed to: its clients, and errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from event_pipeline import aws
from event_pipeline.errors import UsageError

# For the first call, which should fail soon if AWS cannot be reached from here.
FIRST_CALL = Config(connect_timeout=5, retries={"mode": "standard", "max_attempts": 2})


class DeployError(UsageError):
    """A stack that could not be made, changed or deleted; the message says why and what to do."""


class Account:
    """Clients of one account and region: those that AWS's own tools would use."""

    @cached_property
    def session(self) -> Any:
        """The process's session."""
        return aws.session()

    @cached_property
    def cloudformation(self) -> Any:
        """A client of CloudFormation."""
        return self._client("cloudformation")

    @cached_property
    def glue(self) -> Any:
        """A client of Glue."""
        return self._client("glue")

    @cached_property
    def kms(self) -> Any:
        """A client of KMS."""
        return self._client("kms")

    @cached_property
    def s3(self) -> Any:
        """A client of S3."""
        return self._client("s3")

    @cached_property
    def number(self) -> str:
        """The account's number. Asking for it shows that the credentials are good."""
        sts = self._client("sts", FIRST_CALL)
        return str(sts.get_caller_identity()["Account"])

    @property
    def region(self) -> str:
        """Name of the region, as eu-west-1."""
        return str(self.cloudformation.meta.region_name)

    def _client(self, service: str, config: Config | None = None) -> Any:
        return self.session.client(service, config=config or Config(retries=aws.RETRIES))


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turns boto3's errors into DeployError."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise DeployError(aws.error_message(error)) from error


def is_missing(error: ClientError) -> bool:
    """Whether CloudFormation says that there is no such stack."""
    found = error.response["Error"]
    return found["Code"] == "ValidationError" and "does not exist" in found["Message"]
