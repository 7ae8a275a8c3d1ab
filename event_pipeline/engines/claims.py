"""Claims: what is being made and by which run, written before it begins, so that nobody makes it
twice, and a worker that was killed is followed by one that finds its run.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from http import HTTPStatus

from event_pipeline import aws

# A claim that nobody confirms for so many seconds, and of which no run is known, is nobody's.
GRACE_SECONDS = 90


@dataclass(frozen=True)
class Claim:
    """What is claimed, in which version of its input, and by which run.

    `to` is where it writes, where that is one place. `id` is what the service calls the run, once
    that is known, `of` how many things it makes, and `at` Unix seconds.
    """

    name: str
    version: str
    run: str
    to: str = ""
    id: str = ""
    of: int = 1
    at: float = field(default_factory=time.time)
    etag: str = field(default="", compare=False)

    @property
    def alone(self) -> bool:
        """Whether the run makes nothing else."""
        return self.of == 1

    @property
    def is_fresh(self) -> bool:
        """Whether whoever wrote it may still be about to begin."""
        return time.time() - self.at < GRACE_SECONDS


@dataclass(frozen=True)
class Claims:
    """The claims in a bucket under a prefix. Errors are botocore's ClientError."""

    bucket: str
    prefix: str

    def get(self, name: str) -> Claim | None:
        """The claim of a name, None where there is none."""
        client = aws.client("s3")
        try:
            answer = client.get_object(Bucket=self.bucket, Key=self._key(name))
        except client.exceptions.NoSuchKey:
            return None
        return Claim(**{**json.loads(answer["Body"].read()), "etag": answer["ETag"]})

    def put(self, claim: Claim, instead_of: Claim | None = None) -> Claim | None:
        """The claim as written; None, and nothing changed, if another's was written before."""
        client = aws.client("s3")
        condition = {"IfMatch": instead_of.etag} if instead_of else {"IfNoneMatch": "*"}
        text = json.dumps({k: v for k, v in asdict(claim).items() if k != "etag"})
        try:
            answer = client.put_object(
                Bucket=self.bucket, Key=self._key(claim.name), Body=text.encode(), **condition
            )
        except client.exceptions.ClientError as error:
            # 404: what was to be replaced is gone. 409: another's write is under way.
            if aws.status(error) in {
                HTTPStatus.PRECONDITION_FAILED,
                HTTPStatus.CONFLICT,
                HTTPStatus.NOT_FOUND,
            }:
                return None
            raise
        return Claim(**{**asdict(claim), "etag": answer["ETag"]})

    def release(self, claim: Claim) -> None:
        """Removes a claim, unless it is another's by now."""
        found = self.get(claim.name)
        if found and found.run == claim.run:
            aws.client("s3").delete_object(Bucket=self.bucket, Key=self._key(claim.name))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}.json"
