from __future__ import annotations

import dataclasses
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import NothingToRent, OverBudget, StoreError
from launcher.forecast.conditions import Sizes
from launcher.forecast.estimates import Estimate
from launcher.forecast.throughput import EarlierRun, Work
from launcher.planning.plan import Plan, Wants, make_plan
from provisioning import Capabilities, DeadlineKind, Offer, WhenUnattended
from tests.launcher.core.builders import CAPABILITIES, NOON, offer, spot_offer, this_computer

T4 = offer()
T4_OTHER_ZONE = offer(zone="us-east-1b")
T4_OTHER_REGION = offer(region="us-east-2", location="us-east-2", zone="us-east-2a", usd_per_hour=0.52)
A10G = offer(instance_type="g5.xlarge", gpu_name="A10G", gpu_memory_gib=24.0, usd_per_hour=1.9)
GCP_T4 = offer(
    provider="gcp",
    instance_type="n1-standard-4",
    region="us-central1",
    zone="us-central1-a",
    usd_per_hour=0.54,
)
LAMBDA = offer(
    provider="lambda",
    instance_type="gpu_1x_a10",
    gpu_name="A10",
    usd_per_hour=1.29,
    zone=None,
    disk_usd_per_gib_month=0.0,
    egress_usd_per_gib=0.0,
    ipv4_usd_per_hour=0.0,
)
SIX_HOURS = Wants(
    work=Work(hours=6.0, on="T4"),
    sizes=Sizes(code_bytes=10**6, data_bytes=10**8, checkpoint_bytes=10**7, output_bytes=0),
)


def plan(*offers: Offer, **changes: Any) -> Plan:
    wants = dataclasses.replace(SIX_HOURS, **changes)
    return make_plan(offers, wants, capabilities=CAPABILITIES, now=NOON)


class TestChoice:
    def test_the_cheapest_whole_run_not_the_cheapest_hour(self) -> None:
        cheap_but_slow = offer(instance_type="slow", gpu_name="P100", usd_per_hour=0.4)
        fast = offer(instance_type="fast", gpu_name="A100", gpu_memory_gib=40.0, usd_per_hour=0.6)
        assert plan(cheap_but_slow, fast).offer == fast

    def test_secrets_go_to_no_machine_whose_host_key_nobody_can_tell(self) -> None:
        cheap = offer(provider="vast", usd_per_hour=0.1)
        found = plan(cheap, T4, max_usd_per_hour=1.0)
        assert (found.offer, found.candidates) == (cheap, (cheap, T4))
        assert any("at first contact is accepted" in words for words in found.warnings)
        with_secrets = plan(cheap, T4, has_secrets=True, max_usd_per_hour=1.0)
        assert with_secrets.candidates == (T4,)
        assert not any("first contact" in words for words in with_secrets.warnings)
        with pytest.raises(
            NothingToRent, match="the job has secrets, and a machine of vast cannot prove"
        ) as refused:
            plan(cheap, has_secrets=True)
        assert refused.value.left_behind == "nothing was rented"

    def test_falls_back_to_zone_then_region_then_machine_then_provider(self) -> None:
        found = plan(GCP_T4, A10G, T4_OTHER_REGION, T4_OTHER_ZONE, T4, max_usd_per_hour=2.0)
        assert found.offer == T4_OTHER_REGION
        elsewhere = dataclasses.replace(T4_OTHER_REGION, usd_per_hour=0.53)
        found = plan(GCP_T4, A10G, elsewhere, T4_OTHER_ZONE, T4, max_usd_per_hour=2.0)
        assert [item.zone for item in found.candidates] == [
            "us-east-1a",
            "us-east-1b",
            "us-east-2a",
            "us-east-1a",
            "us-central1-a",
        ]
        assert [item.provider for item in found.candidates] == ["aws"] * 4 + ["gcp"]

    def test_another_zone_comes_before_a_cheaper_region(self) -> None:
        near = dataclasses.replace(T4_OTHER_ZONE, usd_per_hour=0.56)
        far = dataclasses.replace(T4_OTHER_REGION, usd_per_hour=0.54)
        assert plan(far, near, T4, max_usd_per_hour=0.6).candidates == (T4, near, far)

    def test_nothing_dearer_than_the_quoted_price_is_rented_unasked(self) -> None:
        four = dataclasses.replace(T4, instance_type="g4dn.12xlarge", gpu_count=4, usd_per_hour=3.91)
        same = dataclasses.replace(T4_OTHER_ZONE, usd_per_hour=T4.usd_per_hour)
        assert plan(T4, four, same).candidates == (T4, same)
        assert plan(T4, four, same, max_usd_per_hour=5.0).candidates == (T4, same, four), (
            "the user said how much"
        )
        assert plan(T4, four, listed=True).candidates == (T4, four), "the job names it itself"

    def test_the_users_own_order_is_kept(self) -> None:
        found = plan(A10G, GCP_T4, T4, in_order=True)
        assert found.candidates == (A10G, GCP_T4, T4)

    def test_one_market_only(self) -> None:
        assert plan(T4, spot_offer()).candidates == (T4,)
        assert plan(T4, spot_offer(), spot=True).candidates == (spot_offer(),)

    def test_in_time_where_that_is_asked(self) -> None:
        fast = offer(instance_type="fast", gpu_name="H100 SXM", gpu_memory_gib=80.0, usd_per_hour=40.0)
        assert plan(T4, fast).offer == T4
        assert plan(T4, fast, until=NOON + timedelta(hours=3)).offer == fast

    def test_too_late_for_everything_is_a_warning(self) -> None:
        found = plan(T4, until=NOON + timedelta(hours=1))
        assert any("hardly be done by 2026-11-21 13:00" in warning for warning in found.warnings)

    def test_candidates_are_chosen_alike_whatever_the_order_of_offers(self) -> None:
        offers = [T4, T4_OTHER_ZONE, T4_OTHER_REGION, A10G, GCP_T4]
        assert plan(*offers).candidates == plan(*reversed(offers)).candidates


class TestRefusals:
    def test_nothing_offered(self) -> None:
        with pytest.raises(NothingToRent) as caught:
            plan()
        assert caught.value.exit_code == 4

    def test_above_the_price_names_the_nearest_misses(self) -> None:
        with pytest.raises(
            NothingToRent, match=r"g4dn.xlarge \(T4\) us-east-1a costs \$0.526/h, above \$0.3/h"
        ) as caught:
            plan(T4, A10G, max_usd_per_hour=0.3)
        assert caught.value.hint
        assert "--max-price" in caught.value.hint

    def test_the_other_market_only(self) -> None:
        with pytest.raises(NothingToRent, match="is not spot"):
            plan(T4, spot=True)

    def test_over_budget_says_the_numbers_and_what_would_do(self) -> None:
        with pytest.raises(OverBudget, match=r"about \$3\.\d\d .* limit is \$1.00") as caught:
            plan(T4, A10G, max_cost_usd=1.0)
        assert caught.value.exit_code == 5
        assert caught.value.left_behind == "nothing was rented"
        assert str(caught.value).startswith("the cheapest way on demand, ")
        assert caught.value.hint and "--spot" not in caught.value.hint
        with pytest.raises(OverBudget) as spot_is_cheaper:
            plan(T4, spot_offer(), max_cost_usd=1.0)
        assert "--spot for about $" in (spot_is_cheaper.value.hint or "")

    def test_the_limit_that_is_advised_is_enough(self) -> None:
        for work in (Work(), SIX_HOURS.work):
            with pytest.raises(OverBudget) as caught:
                plan(T4, work=work, max_cost_usd=0.01)
            advised = re.findall(
                r"--max-cost (\d+\.\d\d) to let it begin or (\d+\.\d\d)", caught.value.hint or ""
            )
            assert len(advised) == 1
            for usd in map(float, advised[0]):
                assert plan(T4, work=work, max_cost_usd=usd).limits.max_cost_usd == usd
            assert plan(T4, work=work, max_cost_usd=float(advised[0][1])).estimate.usd.high <= float(
                advised[0][1]
            )

    def test_what_fits_the_budget_is_chosen_where_the_first_does_not(self) -> None:
        found = plan(A10G, T4, in_order=True, max_cost_usd=3.6)
        assert found.offer == T4

    def test_a_guess_is_refused_only_when_its_low_end_is_too_much(self) -> None:
        assert plan(T4, work=Work(), max_cost_usd=1.0).limits.max_cost_usd == 1.0
        with pytest.raises(OverBudget):
            plan(T4, work=Work(), max_cost_usd=0.01)


class TestWords:
    def test_what_spot_would_save_is_shown_with_interruptions_priced_in(self) -> None:
        assert "spot would save" in plan(T4, spot_offer()).market
        assert "spot saves" in plan(T4, spot_offer(), spot=True).market

    def test_spot_that_is_not_cheaper_is_said(self) -> None:
        hopeless = spot_offer(usd_per_hour=0.5, interruptions_per_hour=2.0)
        assert "spot is not cheaper here" in plan(T4, hopeless).market

    def test_two_alternatives_in_one_line_each(self) -> None:
        found = plan(T4, spot_offer(), A10G)
        assert [item.kind for item in found.alternatives] == ["cheaper", "faster"]
        assert found.alternatives[0].offer.spot
        assert found.alternatives[1].offer == A10G
        assert all("\n" not in item.words and "instead of" in item.words for item in found.alternatives)

    @pytest.mark.parametrize(
        ("chosen", "words"),
        [
            (T4, "the machine ends itself, and its disk stays with the outputs ($0."),
            (GCP_T4, "the provider ends the machine, and its disk stays"),
            (LAMBDA, "nothing but this computer ends its machine: if it dies, billing goes on"),
            (this_computer(), "the job runs on this computer: asleep, it pauses"),
            (this_computer(provider="ssh"), "which is not ours to end"),
        ],
    )
    def test_what_happens_while_this_computer_sleeps(self, chosen: Offer, words: str) -> None:
        assert words in plan(chosen).if_asleep

    def test_only_a_rented_machine_without_a_deadline_of_its_own_needs_consent(self) -> None:
        assert plan(LAMBDA).needs_client_deadline
        assert not plan(T4).needs_client_deadline
        assert not plan(this_computer()).needs_client_deadline
        claimed = Capabilities(deadline=DeadlineKind.CLIENT, claimed=True)
        found = make_plan([LAMBDA], SIX_HOURS, capabilities={"lambda": claimed}, now=NOON)
        assert not found.needs_client_deadline

    def test_what_a_buyer_should_know(self) -> None:
        old = offer(priced_at=NOON - timedelta(days=61), gpu_count=8, notes=("verified host",))
        warnings = plan(old, max_cost_usd=4.0, work=Work(steps=1000), gpus_used=1).warnings
        told = " | ".join(warnings)
        assert "the price is 61 days old (table of 2026-11-21)" in told
        assert "7 of 8 GPUs idle" in told
        assert "the time is a guess" in told
        assert "verified host" in told

    def test_a_limit_that_may_cut_it_short(self) -> None:
        assert any("stopped at $3.60" in warning for warning in plan(T4, max_cost_usd=3.6).warnings)
        assert any("stopped after 1 h" in warning for warning in plan(T4, max_duration_s=3600.0).warnings)


class TestWhatFollows:
    def test_defaults_of_what_happens_unattended(self) -> None:
        assert plan(T4).when_unattended is WhenUnattended.PARK
        assert plan(LAMBDA).when_unattended is WhenUnattended.LINGER
        assert plan(T4, bucket_of="aws").when_unattended is WhenUnattended.PUSH
        assert plan(T4, when_unattended=WhenUnattended.LINGER).when_unattended is WhenUnattended.LINGER

    def test_disk_is_computed_or_as_asked(self) -> None:
        assert plan(T4, disk_gib=200.0).disk_gib == 200.0
        big = Sizes(data_bytes=100 << 30)
        assert plan(T4, sizes=big).disk_gib > 100
        assert plan(this_computer(), sizes=big).disk_gib < 10  # linked, not copied

    def test_nothing_is_mirrored_where_that_is_not_wanted(self) -> None:
        found = plan(T4, mirrored=False)
        assert found.mirror_every_s == 0.0
        assert all(line.item != "checkpoint mirroring" for line in found.estimate.lines)

    def test_default_limits_are_twice_the_high_estimate(self) -> None:
        found = plan(T4)
        assert found.limits.max_duration_s == pytest.approx(2 * 3600 * found.estimate.hours.high)
        assert found.limits.max_cost_usd == pytest.approx(2 * found.estimate.usd.high, abs=0.01)

    def test_spot_without_anything_leaving_the_machine_starts_over(self) -> None:
        def extra(found: Plan) -> float:
            return sum(line.hours.likely for line in found.estimate.lines if line.item == "interruptions")

        lambda_spot = dataclasses.replace(LAMBDA, spot=True, interruptions_per_hour=0.1)
        assert extra(plan(lambda_spot, spot=True, mirrored=False)) > 5 * extra(plan(lambda_spot, spot=True))

    def test_a_gpu_nobody_knows_is_priced_as_a_wide_range(self) -> None:
        found = plan(offer(gpu_name="Unobtainium 9"))
        assert found.estimate.hours.high > 4 * found.estimate.hours.low

    def test_restored_unchanged_from_its_stored_form(self) -> None:
        history = (EarlierRun(steps_per_s=3.0, gpu_name="T4", steps=1000, label="b2t-aaaa"),)
        for made in (
            plan(T4, spot_offer(), A10G, GCP_T4, until=NOON, out=Path("/home/me/results"), history=history),
            plan(this_computer()),
            plan(T4, spot_offer(), spot=True, mirrored=False),
        ):
            assert Plan.from_json(json.loads(json.dumps(made.to_json()))) == made

    def test_a_stored_plan_of_a_newer_version_is_refused(self) -> None:
        stored = {**plan(T4).to_json(), "carbon_kg": 3}
        with pytest.raises(StoreError, match="carbon_kg"):
            Plan.from_json(stored)


class TestBill:
    """The lines of one estimate, as people read them."""

    @staticmethod
    def lines(made: Estimate) -> dict[str, str]:
        return {line.item: line.basis for line in made.lines}

    def test_everything_that_will_be_billed_on_a_cloud(self) -> None:
        found = self.lines(plan(spot_offer(ingress_usd_per_gib=0.01), spot=True).estimate)
        assert set(found) == {
            "boot",
            "data transfer",
            "setup",
            "training",
            "interruptions",
            "output pull",
            "checkpoint mirroring",
            "disk",
            "IPv4",
            "egress",
            "ingress again",
        }
        assert "one per 20 h" in found["interruptions"]
        assert "assumed" in found["data transfer"]

    def test_time_and_disk_of_this_computer(self) -> None:
        made = plan(this_computer(), work=Work(hours=0.5, on="cpu")).estimate
        found = self.lines(made)
        assert made.usd.high == 0.0
        assert made.hours.likely == pytest.approx(0.5, abs=0.01)
        assert "100 MB of data is linked, not copied" in found["data transfer"]
        assert "of this computer's disk" in found["disk"]

    def test_measured_links_are_called_measured_and_narrow_the_range(self) -> None:
        big = Sizes(data_bytes=12 << 30, checkpoint_bytes=1, output_bytes=1)
        assumed = plan(T4, sizes=big).estimate
        measured = plan(T4, sizes=big, up_bytes_per_s=2.5e6, down_bytes_per_s=12.5e6).estimate
        assert "measured" in self.lines(measured)["data transfer"]
        assert measured.hours.high - measured.hours.low < assumed.hours.high - assumed.hours.low
        assert "the speed of this computer's uplink" in assumed.narrow_by


class TestAmounts:
    """A bill is read by people: sizes, speeds and times in units that fit them, and of the place that is meant."""

    def test_a_cloud_that_pretends_is_spoken_of_as_a_cloud(self) -> None:
        fake = offer(provider="fake", instance_type="t4.small")
        capabilities = {"fake": Capabilities(deadline=DeadlineKind.BOOT, park=True)}
        made = make_plan([fake], SIX_HOURS, capabilities=capabilities, now=NOON).estimate
        bases = " / ".join(line.basis for line in made.lines)
        assert "this computer" not in bases
        assert "Gbit/s" in bases and "e+" not in bases
        assert "41.0 MB for 6 h" in bases

    def test_a_limit_of_a_second_is_said_in_seconds(self) -> None:
        made = plan(this_computer(), work=Work(hours=0.01, on="cpu"), max_duration_s=1.0)
        assert any("is stopped after 1 s" in warning for warning in made.warnings)
