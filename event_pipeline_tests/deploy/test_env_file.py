"""The env file: a shell reads it to the letter, and it takes no other file's place."""

import subprocess
from pathlib import Path

import pytest

from event_pipeline.deploy import env_file
from event_pipeline.deploy.account import DeployError
from event_pipeline.deploy.env_file import environment
from event_pipeline.settings import OF_AWS, PREFIX

WHERE = "shop in eu-west-1 of account 123456789012"
ODD = "a b'c\"d$HOME`id`\\e;f#g"


def shell(path: Path, variable: str) -> str:
    """The value of a variable in a program that a shell starts after it has read the file."""
    script = f"{env_file.how_to_read(path)}; exec printenv {variable}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=path.parent, env={}, capture_output=True, text=True, check=True
    )
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("name", [".env.aws", "a file of mine.env"])
def test_a_shell_reads_what_was_written(nowhere: Path, name: str) -> None:
    env_file.write(Path(name), {"EVENT_PIPELINE_WORKGROUP": ODD}, WHERE)
    assert shell(nowhere / name, "EVENT_PIPELINE_WORKGROUP") == ODD
    script = f"{env_file.how_to_read(Path(name))}; exec printenv EVENT_PIPELINE_WORKGROUP"
    done = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == ODD + "\n"


def test_outputs_are_settings_but_for_those_that_are_not(nowhere: Path) -> None:
    told = {"LakeBucket": "lake", "GlueJob": "job", "ArtifactsBucket": "code", "DagsterRole": "arn"}
    assert environment(told, "eu-west-1") == {
        "EVENT_PIPELINE_TARGET": "aws",
        "EVENT_PIPELINE_GLUE_JOB": "job",
        "EVENT_PIPELINE_LAKE_BUCKET": "lake",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }


def test_outputs_are_named_as_the_settings_are(nowhere: Path) -> None:
    told = {"".join(part.title() for part in name.split("_")): "x" for name in OF_AWS}
    assert {f"{PREFIX}{name.upper()}" for name in OF_AWS} < set(environment(told, "eu-west-1"))


def test_a_stand_in_is_found_again(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert environment({}, "eu-west-1")["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"


def test_it_is_written_anew_for_the_same_stack_alone(nowhere: Path) -> None:
    path = Path(".env.aws")
    env_file.write(path, {"A": "1"}, WHERE)
    env_file.write(path, {"A": "2"}, WHERE)
    assert shell(nowhere / path, "A") == "2"
    for other in (WHERE.replace("shop", "other"), WHERE.replace("west", "central"), WHERE + "3"):
        with pytest.raises(DeployError, match=r"not belong to the stack .* --env-file"):
            env_file.write(path, {"A": "3"}, other)
    assert shell(nowhere / path, "A") == "2"
    assert [each.name for each in nowhere.iterdir()] == [".env.aws"]


@pytest.mark.parametrize("content", [b"", b"SECRET=mine\n", b"\xff\xfe\x00"])
def test_a_foreign_file_stays(nowhere: Path, content: bytes) -> None:
    path = Path(".env.aws")
    path.write_bytes(content)
    with pytest.raises(DeployError, match=r"\.env\.aws"):
        env_file.write(path, {"A": "1"}, WHERE)
    assert path.read_bytes() == content


def test_a_file_needs_a_folder(nowhere: Path) -> None:
    with pytest.raises(DeployError, match="there is no folder nope"):
        env_file.check(Path("nope/.env.aws"), WHERE)
