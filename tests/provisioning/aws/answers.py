"""Answers in AWS's wire formats: query XML for EC2 and STS, JSON for SSM and Pricing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

_EC2 = "http://ec2.amazonaws.com/doc/2016-11-15/"


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    content_type: str = "text/xml"


def refusal(code: str, message: str, status: int, *, json_like: bool) -> Answer:
    if json_like:
        return Answer(status, json.dumps({"__type": code, "message": message}), "application/x-amz-json-1.1")
    error = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    return Answer(status, f"<Response><Errors>{error}</Errors><RequestID>r-1</RequestID></Response>")


def xml(action: str, name: str, items: Iterable[Mapping[str, Any]]) -> Answer:
    """A list answer: ``<ActionResponse><name><item>…``."""
    rows = "".join(
        "<item>" + "".join(f"<{key}>{escape(str(value))}</{key}>" for key, value in item.items()) + "</item>"
        for item in items
    )
    return Answer(200, f'<{action}Response xmlns="{_EC2}"><{name}>{rows}</{name}></{action}Response>')


def as_json(value: Any) -> Answer:
    return Answer(200, json.dumps(value), "application/x-amz-json-1.1")


def price_list_item(instance_type: str, region: str, usd: float) -> str:
    """One product of the price list, with the reservation's free dimension that real ones carry too."""
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "attributes": {"instanceType": instance_type, "regionCode": region},
            },
            "terms": {
                "OnDemand": {
                    "A.1": {
                        "priceDimensions": {
                            "A.1.1": {"unit": "Hrs", "pricePerUnit": {"USD": f"{usd:.10f}"}},
                        }
                    },
                    "B.1": {"priceDimensions": {"B.1.1": {"unit": "Hrs", "pricePerUnit": {"USD": "0.0"}}}},
                }
            },
        }
    )
