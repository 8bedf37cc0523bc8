"""Every refusal of Vast that is known leads to one of our errors, and what is not known is never taken for harmless."""

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
from provisioning.vast.errors import CODES, Meaning, Refusal, create_error, error_for, meaning_of

EXPECTED: dict[Meaning, type[CloudError]] = {
    Meaning.TAKEN: NoCapacity,
    Meaning.GONE: CloudError,
    Meaning.MONEY: QuotaExceeded,
    Meaning.CREDENTIALS: BadCredentials,
    Meaning.PERMISSION: PermissionDenied,
    Meaning.OPTION: BadOption,
    Meaning.THROTTLED: Throttled,
    Meaning.SERVER: Unreachable,
    Meaning.UNKNOWN: CloudError,
}


def said(code: str = "", message: str = "words of Vast", status: int = 400) -> Refusal:
    return Refusal(call="PUT asks", code=code, message=message, status=status)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_known_code_has_its_error(code: str) -> None:
    error = error_for(said(code))
    assert type(error) is EXPECTED[CODES[code]]
    assert code in str(error)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_refused_create_is_a_refusal_or_must_be_looked_for(code: str) -> None:
    error = create_error(said(code), token="r-abcd-1-1")
    if CODES[code] is Meaning.GONE:
        assert isinstance(error, MayHaveBeenCreated)
    else:
        assert type(error) is EXPECTED[CODES[code]]


@pytest.mark.parametrize(
    "refusal",
    [
        said("never_heard_of"),
        said(),
        said(status=200),
        said(status=404),
        said("invalid_args", status=500),
        said(status=502, message="<html>Bad Gateway</html>"),
        said(status=0, message="timed out"),
    ],
)
def test_what_is_not_known_may_have_made_an_instance(refusal: Refusal) -> None:
    error = create_error(refusal, token="r-abcd-1-1")
    assert isinstance(error, MayHaveBeenCreated)
    assert error.token == "r-abcd-1-1"


@pytest.mark.parametrize(
    ("refusal", "meaning"),
    [
        (
            said("invalid_args", "error 404/3603: no_such_ask Instance type 1 is not available.", 404),
            Meaning.TAKEN,
        ),
        (said("", "error 410/3907: gone", 410), Meaning.TAKEN),
        (said("", "API requests too frequent", 429), Meaning.THROTTLED),
        (said("invalid_args", "insufficient credit to rent", 400), Meaning.MONEY),
        (said("", "Invalid user key", 404), Meaning.CREDENTIALS),
        (said("", "", 401), Meaning.CREDENTIALS),
        (said("", "not your own", 403), Meaning.PERMISSION),
    ],
)
def test_texts_and_statuses_are_read_too(refusal: Refusal, meaning: Meaning) -> None:
    assert meaning_of(refusal) is meaning


def test_the_pause_that_vast_asks_for_is_in_its_text() -> None:
    asked = error_for(said(message="API requests too frequent endpoint threshold=4.5", status=429))
    assert isinstance(asked, Throttled)
    assert asked.retry_after_s == 5.0
    unsaid = error_for(said(message="API requests too frequent", status=429))
    assert isinstance(unsaid, Throttled)
    assert (unsaid.retry_after_s or 0.0) > 4.5
