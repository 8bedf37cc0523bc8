"""Provider options are read strictly, and refused by their full path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from provisioning import BadOption
from provisioning.options import did_you_mean, read_options


@dataclass(frozen=True, kw_only=True)
class Rule:
    kind: Literal["soft", "hard"]
    nth: int = 1

    def __post_init__(self) -> None:
        if self.nth < 1:
            raise ValueError("nth counts from 1")


@dataclass(frozen=True, kw_only=True)
class Options:
    reliability: float = 0.95
    verified: bool = True
    vpc: str | None = None
    rules: tuple[Rule, ...] = ()
    first: Rule = field(default_factory=lambda: Rule(kind="soft"))
    limits: Mapping[str, int] = field(default_factory=dict)


def read(**values: Any) -> Options:
    return read_options(Options, values, "provider_options.acme")


def test_nothing_gives_the_defaults() -> None:
    assert read() == Options()


def test_everything_is_read() -> None:
    options = read(
        reliability=1,
        verified=False,
        vpc="vpc-1",
        rules=[{"kind": "hard"}, {"kind": "soft", "nth": 2}],
        first={"kind": "hard"},
        limits={"T4": 4},
    )
    assert options == Options(
        reliability=1.0,
        verified=False,
        vpc="vpc-1",
        rules=(Rule(kind="hard"), Rule(kind="soft", nth=2)),
        first=Rule(kind="hard"),
        limits={"T4": 4},
    )
    assert isinstance(options.reliability, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reliabilty": 1}, "acme.reliabilty: unknown 'reliabilty'; did you mean 'reliability'?"),
        ({"xyz": 1}, "acme.xyz: unknown 'xyz'"),
        ({"reliability": "high"}, "acme.reliability: 'high' is not a number"),
        ({"reliability": float("nan")}, "acme.reliability: nan is not a number"),
        ({"reliability": True}, "acme.reliability: True is not a number"),
        ({"verified": 1}, "acme.verified: 1 is not true or false"),
        ({"vpc": 7}, "acme.vpc: 7 is not text"),
        ({"rules": "hard"}, "acme.rules: 'hard' is not a list"),
        (
            {"rules": [{"kind": "hard"}, {"kind": "sofd"}]},
            r"acme.rules[1].kind: unknown 'sofd'; did you mean 'soft'?",
        ),
        ({"rules": [{}]}, r"acme.rules[0].kind: missing"),
        ({"rules": [{"kind": "hard", "nth": 1.5}]}, r"acme.rules[0].nth: 1.5 is not a whole number"),
        ({"rules": [{"kind": "hard", "nth": 0}]}, r"acme.rules[0]: nth counts from 1"),
        ({"first": 3}, "acme.first: 3 is not fields with values"),
        ({"limits": {"T4": "many"}}, "acme.limits.T4: 'many' is not a whole number"),
    ],
)
def test_a_mistake_is_named_by_its_path(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as refused:
        read(**values)
    assert str(refused.value) == f"provider_options.{message}"


def test_none_means_the_default_of_what_is_optional() -> None:
    assert read(vpc=None).vpc is None


def test_the_hint_lists_what_is_valid() -> None:
    assert did_you_mean("region", "us", ["b", "a"]).hint == "valid are: a, b"
