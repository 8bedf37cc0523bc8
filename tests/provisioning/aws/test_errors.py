"""Every code of EC2 that is known leads to one of our errors, and what is not known is never taken for harmless."""

from __future__ import annotations

import pytest

from provisioning import (
    BadCredentials,
    BadOption,
    CloudError,
    MayHaveBeenCreated,
    NoCapacity,
    PermissionDenied,
    QuotaExceeded,
    Throttled,
    Unreachable,
)
from provisioning.aws.errors import CODES, Meaning, Refusal, create_error, error_for, meaning_of
from provisioning.aws.quotas import quota_of

EXPECTED: dict[Meaning, type[CloudError]] = {
    Meaning.CAPACITY: NoCapacity,
    Meaning.QUOTA: QuotaExceeded,
    Meaning.CREDENTIALS: BadCredentials,
    Meaning.PERMISSION: PermissionDenied,
    Meaning.OPTION: BadOption,
    Meaning.THROTTLED: Throttled,
    Meaning.SERVER: Unreachable,
    Meaning.REPLAYED: CloudError,
    Meaning.UNKNOWN: CloudError,
}


def said(code: str, message: str = "words of EC2", status: int = 400) -> Refusal:
    return Refusal(
        code=code, message=message, operation="ec2:RunInstances", region="eu-central-1", status=status
    )


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_known_code_has_its_error(code: str) -> None:
    error = error_for(said(code))
    assert type(error) is EXPECTED[CODES[code]]
    assert code in str(error)
    assert "eu-central-1" in str(error)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_refused_create_is_a_refusal_or_must_be_looked_for(code: str) -> None:
    error = create_error(said(code, status=500), token="r-abcd-1-1", quota="Some quota: https://page")
    if CODES[code] in (Meaning.SERVER, Meaning.REPLAYED):
        assert isinstance(error, MayHaveBeenCreated)
        assert error.token == "r-abcd-1-1"
    else:
        assert type(error) is EXPECTED[CODES[code]]


@pytest.mark.parametrize(
    ("code", "status"), [("NeverHeardOf", 400), ("NeverHeardOf", 500), ("", 0), ("", 502)]
)
def test_an_unknown_answer_to_a_create_must_be_looked_for(code: str, status: int) -> None:
    assert isinstance(create_error(said(code, status=status), token="t"), MayHaveBeenCreated)


def test_codes_are_read_by_their_form_too() -> None:
    assert meaning_of(said("InvalidSomethingNew.Malformed")) is Meaning.OPTION
    assert meaning_of(said("SomeThrottling", status=400)) is Meaning.THROTTLED
    assert meaning_of(said("Whatever", status=429)) is Meaning.THROTTLED
    assert meaning_of(said("Whatever", status=503)) is Meaning.SERVER
    assert meaning_of(said("Whatever", status=400)) is Meaning.UNKNOWN


def test_a_zone_without_the_type_is_no_mistake_of_the_user() -> None:
    text = "Your requested instance type is not supported in your requested Availability Zone (us-east-1e)"
    assert isinstance(create_error(said("InvalidParameterValue", text), token="t"), NoCapacity)
    assert isinstance(
        create_error(said("InvalidParameterValue", "Value (x) is invalid"), token="t"), BadOption
    )


def test_a_quota_is_named_with_the_page_that_raises_it() -> None:
    quota = quota_of("g4dn.xlarge", spot=True)
    error = create_error(
        said("MaxSpotInstanceCountExceeded"), token="t", quota=f"{quota.name}: {quota.page('eu-central-1')}"
    )
    assert "All G and VT Spot Instance Requests" in str(error)
    assert error.hint is not None
    assert "eu-central-1" in error.hint
    assert "L-3819A6DF" in error.hint


@pytest.mark.parametrize(
    ("instance_type", "spot", "name"),
    [
        ("g6.xlarge", False, "Running On-Demand G and VT instances"),
        ("gr6.4xlarge", True, "All G and VT Spot Instance Requests"),
        ("p4d.24xlarge", False, "Running On-Demand P instances"),
        ("p4de.24xlarge", True, "All P4, P3 and P2 Spot Instance Requests"),
        ("p5.48xlarge", True, "All P5 Spot Instance Requests"),
        ("p5en.48xlarge", False, "Running On-Demand P instances"),
        ("t3.small", False, "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
        ("m6i.xlarge", True, "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    ],
)
def test_the_quota_of_a_type(instance_type: str, spot: bool, name: str) -> None:
    assert quota_of(instance_type, spot=spot).name == name


def test_a_missing_permission_is_named_and_the_encoded_text_left_out() -> None:
    text = "You are not authorized. Encoded authorization failure message: " + "x" * 900
    error = error_for(said("UnauthorizedOperation", text))
    assert "x" * 20 not in str(error)
    assert error.hint is not None
    assert error.hint.startswith("allow ec2:RunInstances")


def test_hints_fit_the_case() -> None:
    assert "clock" in str(error_for(said("RequestExpired")).hint)
    assert "aws sso login" in str(error_for(said("ExpiredToken")).hint)
    assert "four hours" in str(error_for(said("PendingVerification")).hint)
    assert "eu-central-1" in str(error_for(said("OptInRequired")).hint)
