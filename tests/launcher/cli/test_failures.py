"""Every error that can reach the top has an exit code of the contract and a word for scripts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import launcher.errors
import provisioning.errors
from launcher.cli.failures import CLOUD_EXIT_CODES, failure_of, nothing_rented
from launcher.errors import LaunchError, RunNotFound
from provisioning.errors import CloudError, NoCapacity, PriceRose

CONTRACT = {1, 2, 3, 4, 5, 70}


def tree(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    for below in cls.__subclasses__():
        yield from tree(below)


def test_every_error_of_the_launcher_has_an_exit_code_of_the_contract() -> None:
    for cls in tree(LaunchError):
        if cls.__module__ == launcher.errors.__name__:
            assert cls.exit_code in CONTRACT, cls  # type: ignore[attr-defined]
            assert cls is LaunchError or cls.code != LaunchError.code, cls  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "code", "exit_code"),
    [
        ("BadCredentials", "bad_credentials", 3),
        ("MissingDependency", "missing_dependency", 3),
        ("PermissionDenied", "permission_denied", 3),
        ("BadOption", "bad_option", 2),
        ("NoOffer", "no_offer", 4),
        ("NoCapacity", "no_capacity", 4),
        ("QuotaExceeded", "quota_exceeded", 4),
        ("MachineInUse", "machine_in_use", 1),
        ("Throttled", "throttled", 1),
        ("Unreachable", "unreachable", 1),
        ("MayStillBeRunning", "may_still_be_running", 1),
    ],
)
def test_an_error_of_a_cloud_becomes_a_word_and_a_code(name: str, code: str, exit_code: int) -> None:
    cls = getattr(provisioning.errors, name)
    err = cls.__new__(cls)
    CloudError.__init__(err, "it said no", left_behind="a disk", hint="try later")
    failure = failure_of(err)
    assert (failure.code, failure.exit_code) == (code, exit_code)
    assert failure.text() == "error: it said no\nleft behind: a disk\nwhat to do: try later"


def test_the_table_names_only_classes_that_exist() -> None:
    assert set(CLOUD_EXIT_CODES) <= {cls.__name__ for cls in tree(CloudError)}


def test_a_risen_price_is_no_capacity_within_the_limits() -> None:
    assert failure_of(PriceRose("dearer", quoted_usd_per_hour=1, asked_usd_per_hour=2)).exit_code == 4


def test_anything_else_is_our_own_fault_and_says_how_to_report_it() -> None:
    failure = failure_of(KeyError("offer"))
    assert failure.exit_code == 70
    assert failure.code == "our_fault"
    assert "KeyError" in failure.message
    assert failure.hint is not None
    assert "report" in failure.hint


def test_ctrl_c_is_130() -> None:
    assert failure_of(KeyboardInterrupt()).exit_code == 130


def test_what_is_certain_is_added_and_what_is_known_is_kept() -> None:
    with pytest.raises(RunNotFound) as plain, nothing_rented():
        raise RunNotFound("no run")
    assert plain.value.left_behind == "nothing was rented"
    with pytest.raises(NoCapacity) as known, nothing_rented():
        raise NoCapacity("sold out", left_behind="a key pair")
    assert known.value.left_behind == "a key pair"
