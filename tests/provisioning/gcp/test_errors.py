"""Every code of Google's that is known leads to one of our errors, no exception of its libraries escapes, and what is not
known is never taken for harmless."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from provisioning import (
    BadCredentials,
    BadOption,
    CloudError,
    MayHaveBeenCreated,
    NoCapacity,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Transient,
    Unreachable,
)
from provisioning.gcp.client import Client
from provisioning.gcp.errors import (
    CODES,
    TAKEN,
    Refusal,
    create_error,
    error_for,
    failed_create_error,
    meaning_of,
    quota_metric,
)
from provisioning.meaning import Meaning
from tests.provisioning.gcp.cloud import GceCloud

EXPECTED: dict[Meaning, type[CloudError]] = {
    Meaning.CAPACITY: NoCapacity,
    Meaning.QUOTA: QuotaExceeded,
    Meaning.CREDENTIALS: BadCredentials,
    Meaning.PERMISSION: PermissionDenied,
    Meaning.OPTION: BadOption,
    Meaning.THROTTLED: Throttled,
    Meaning.BUSY: Transient,
    Meaning.SERVER: Unreachable,
    Meaning.REPLAYED: CloudError,
    Meaning.UNKNOWN: CloudError,
}


def said(code: str, message: str = "words of Google", status: int = 400) -> Refusal:
    return Refusal(
        code=code,
        message=message,
        permission="compute.instances.create",
        place="us-central1-b",
        status=status,
    )


def test_every_known_code_has_its_error() -> None:
    for code in CODES:
        refusal = said(code)
        error = error_for(refusal)
        assert type(error) is EXPECTED[meaning_of(refusal)], code
        assert code in error.message
        assert "us-central1-b" in error.message


def test_a_create_call_is_answered_no_or_may_have_made_something() -> None:
    noes = (NoCapacity, QuotaExceeded, BadOption, BadCredentials, PermissionDenied, Throttled)
    for code, status in itertools.product((*CODES, "", "NobodyKnows"), (0, 400, 403, 418, 500, 503)):
        error = create_error(said(code, status=status), token="t-1-1")
        assert isinstance(error, (*noes, MayHaveBeenCreated)), (code, status)
        is_unknown = code in ("", "NobodyKnows") and status in (0, 418, 500)
        if is_unknown or code in TAKEN or (code, status) == ("", 503):
            assert isinstance(error, MayHaveBeenCreated), (code, status)


def test_a_create_operation_that_failed_never_asks_for_the_same_again() -> None:
    for code in (*CODES, "NobodyKnows"):
        error = failed_create_error(said(code, status=503))
        assert isinstance(error, (NoCapacity, QuotaExceeded, BadOption, BadCredentials, PermissionDenied)), (
            code
        )


@pytest.mark.parametrize(
    ("message", "metric", "hint"),
    [
        (
            "Quota 'GPUS_ALL_REGIONS' exceeded.  Limit: 0.0 globally.",
            "GPUS_ALL_REGIONS",
            "no other region helps",
        ),
        (
            "Quota 'NVIDIA_T4_GPUS' exceeded.  Limit: 1.0 in region europe-west4.",
            "NVIDIA_T4_GPUS",
            "another region",
        ),
        ("Quota 'CPUS' exceeded. Limit: 24.0 in region us-central1.", "CPUS", "another region"),
        ("The PREEMPTIBLE_NVIDIA_L4_GPUS limit is 0", "PREEMPTIBLE_NVIDIA_L4_GPUS", "another region"),
        ("too much", None, "raise it"),
    ],
)
def test_a_quota_is_named_and_whether_another_region_helps(
    message: str, metric: str | None, hint: str
) -> None:
    assert quota_metric(message) == metric
    error = error_for(said("QUOTA_EXCEEDED", message))
    assert hint in str(error.hint)
    assert metric is None or metric in error.message


def test_a_zone_that_a_project_may_not_use_is_passed_over() -> None:
    refusal = said("forbidden", "Location us-x1-a is not found or access is unauthorized.", 403)
    assert isinstance(error_for(refusal), NoCapacity)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("accessNotConfigured", "gcloud services enable compute.googleapis.com"),
        ("billingNotEnabled", "billing account"),
        ("forbidden", "roles/compute.instanceAdmin.v1"),
    ],
)
def test_a_permission_that_is_missing_says_the_line_that_helps(code: str, words: str) -> None:
    assert words in str(error_for(said(code, status=403)).hint)


# Exceptions


def exceptions_of(module: Any) -> Iterator[BaseException]:
    """One of every kind that a library can raise."""
    left_out = (Warning, NotImplementedError)  # what is told, and what only the asynchronous client raises
    for kind in vars(module).values():
        if not inspect.isclass(kind) or issubclass(kind, left_out):
            continue
        if issubclass(kind, Exception) and kind.__module__ == module.__name__:
            for arguments in (("words",), ("words", [ValueError("cause")]), ("words", "text", 0)):
                with suppress(TypeError):
                    yield kind(*arguments)
                    break
            else:
                raise AssertionError(f"how is {kind} made?")


def test_no_exception_of_the_libraries_escapes(cloud: GceCloud) -> None:
    client = Client(cloud.environ(), None)
    found = [*exceptions_of(api), *exceptions_of(auth), *exceptions_of(requests.exceptions)]
    assert len(found) > 60
    for error in [*found, OSError("words"), ValueError("words")]:
        answer = outcome(client, error)
        assert isinstance(answer, (Refusal, BadCredentials, Unreachable)), error
        if isinstance(answer, Refusal):
            assert isinstance(create_error(answer, token="t"), CloudError)


def outcome(client: Client, error: BaseException) -> Any:
    def fails() -> dict[str, Any]:
        raise error

    try:
        return client._guarded(fails, "compute.instances.create", "us-central1-b")
    except CloudError as raised:
        return raised
