"""What every provider must hold. A provider joins by a subclass in ``test_providers.py``.

The subclass says how its cloud is reached from a test; everything else is the same for all.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from provisioning import (
    BadOption,
    CloudError,
    Command,
    HttpRequest,
    InstanceRef,
    InstanceSpec,
    InstanceState,
    LocalAccess,
    MayHaveBeenCreated,
    NoticeProbe,
    Offer,
    Provider,
    ProviderContext,
    Query,
    SshAccess,
    Transient,
    registry,
)
from provisioning.models import HostKey, utc_now

Build = Callable[..., Provider]
"""``build(**options)``: the provider over one cloud that lasts as long as the test."""

PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnever-shown\n-----END OPENSSH PRIVATE KEY-----\n"


def spec_for(run_id: str = "ctr-abcd", attempt: int = 1, try_number: int = 1, **more: Any) -> InstanceSpec:
    fields: dict[str, Any] = {
        "home_id": "home-1",
        "owner": "ann",
        "deadline": utc_now() + timedelta(hours=1),
        "disk_gib": 20.0,
        "host_key": HostKey(private=PRIVATE_KEY, public="ssh-ed25519 AAAA"),
        **more,
    }
    return InstanceSpec(run_id=run_id, attempt=attempt, try_number=try_number, **fields)


class ProviderContract:
    """One class of tests for any provider."""

    name: str
    """The name in the registry."""
    misspelt_option: str
    """An option name with one letter wrong …"""
    option: str
    """… and the one that was meant."""
    secrets: tuple[str, ...] = ()
    """Credentials that `build` gives the provider; they must not show anywhere."""

    @pytest.fixture
    def build(self, tmp_path: Path) -> Iterator[Build]:
        """Yield a way to build the provider; ends what the test has left running."""
        raise NotImplementedError

    def settle(self, provider: Provider, ref: InstanceRef, wanted: InstanceState) -> InstanceState:
        """Return the state once it is ``wanted``, or after the time that this cloud may take for it."""
        return provider.get(ref).state

    @pytest.fixture
    def provider(self, build: Build) -> Provider:
        return build()

    @pytest.fixture
    def offer(self, provider: Provider) -> Offer:
        return provider.offers(Query())[0]

    # What it says about itself

    def test_it_is_a_provider(self, provider: Provider) -> None:
        assert isinstance(provider, Provider)
        assert provider.name == self.name

    def test_check_finds_nothing_wrong(self, provider: Provider) -> None:
        provider.check()

    def test_repr_shows_no_credential(self, provider: Provider, offer: Offer) -> None:
        spec = spec_for()
        shown = f"{provider!r} {vars(provider)!r} {spec!r} {provider.create(offer, spec)!r}"
        for secret in (*self.secrets, "never-shown"):
            assert secret not in shown

    # Options

    def test_an_unknown_option_is_refused_by_its_path_with_the_nearest_name(self, build: Build) -> None:
        with pytest.raises(BadOption) as refused:
            build(**{self.misspelt_option: 1})
        assert f"provider_options.{self.name}.{self.misspelt_option}" in str(refused.value)
        assert self.option in str(refused.value)

    def test_an_option_of_the_wrong_type_is_refused_by_its_path(self, build: Build) -> None:
        with pytest.raises(BadOption, match=f"provider_options.{self.name}.{self.option}"):
            build(**{self.option: {"not": "this"}})

    # Offers

    def test_offers_are_sane(self, provider: Provider) -> None:
        offers = provider.offers(Query())
        assert offers
        for offer in offers:
            assert offer.provider == self.name
            assert offer.usd_per_hour > 0 or provider.capabilities.claimed
            assert offer.price_source
            assert offer.vcpus > 0
            assert offer.memory_gib > 0
            assert offer.gpu_count == 0 or offer.gpu_memory_gib > 0
            assert offer.spot or offer.interruptions_per_hour == 0
            InstanceRef(offer.provider, offer.location, "x")

    def test_offers_come_cheapest_first(self, provider: Provider) -> None:
        prices = [offer.usd_per_hour for offer in provider.offers(Query())]
        assert prices == sorted(prices)

    def test_a_query_is_respected(self, provider: Provider) -> None:
        for offer in provider.offers(Query()):
            query = Query(
                instance_type=offer.instance_type,
                region=offer.region,
                zone=offer.zone,
                spot=offer.spot,
                gpu_name=offer.gpu_name,
                gpu_count=offer.gpu_count,
                min_vcpus=offer.vcpus,
                max_usd_per_hour=offer.usd_per_hour,
            )
            found = provider.offers(query)
            assert found
            for match in found:
                assert match.instance_type == offer.instance_type
                assert match.spot == offer.spot
                assert match.usd_per_hour <= offer.usd_per_hour
                assert match.gpu_count >= offer.gpu_count

    def test_what_nobody_has_is_no_offer(self, provider: Provider) -> None:
        assert not provider.offers(Query(min_memory_gib=1e9))
        assert not provider.offers(Query(gpu_name="TNT2"))

    def test_an_unknown_instance_type_is_refused_with_the_nearest(
        self, provider: Provider, offer: Offer
    ) -> None:
        misspelt = offer.instance_type + "x"
        with pytest.raises(BadOption, match=offer.instance_type):
            provider.offers(Query(instance_type=misspelt))
        with pytest.raises(BadOption):
            provider.create(replace(offer, instance_type=misspelt), spec_for())

    # Create

    def test_create_returns_what_was_asked_for(self, provider: Provider, offer: Offer) -> None:
        spec = spec_for()
        instance = provider.create(offer, spec)
        assert instance.ref.provider == self.name
        assert instance.ref.location == offer.location
        assert InstanceRef.parse(str(instance.ref)) == instance.ref
        assert instance.state in (InstanceState.PENDING, InstanceState.RUNNING)
        assert instance.instance_type == offer.instance_type
        assert (instance.run_id, instance.token) == (spec.run_id, spec.token)
        assert (instance.home_id, instance.owner) == (spec.home_id, spec.owner)

    def test_the_deadline_is_carried(self, provider: Provider, offer: Offer) -> None:
        spec = spec_for()
        ref = provider.create(offer, spec).ref
        assert provider.get(ref).deadline == spec.deadline

    def test_a_running_machine_can_be_reached(self, provider: Provider, offer: Offer) -> None:
        ref = provider.create(offer, spec_for()).ref
        assert self.settle(provider, ref, InstanceState.RUNNING) is InstanceState.RUNNING
        access = provider.get(ref).access
        assert isinstance(access, (SshAccess, LocalAccess))
        if isinstance(access, LocalAccess):
            assert access.work_root.is_absolute()

    def test_the_same_token_is_the_same_instance(
        self, provider: Provider, offer: Offer, build: Build
    ) -> None:
        spec = spec_for()
        first = provider.create(offer, spec)
        assert provider.create(offer, spec).ref == first.ref
        assert build().create(offer, spec).ref == first.ref
        assert [instance.ref for instance in provider.owned()] == [first.ref]

    def test_the_next_try_is_another_instance(self, provider: Provider, offer: Offer) -> None:
        first = provider.create(offer, spec_for(try_number=1)).ref
        provider.terminate(first)
        assert provider.create(offer, spec_for(try_number=2)).ref != first

    # Get and owned

    def test_what_is_unknown_is_terminated(self, provider: Provider, offer: Offer) -> None:
        assert provider.get(InstanceRef(self.name, offer.location, "i-never-was")).state.is_gone

    def test_owned_finds_by_tag(self, provider: Provider, offer: Offer, build: Build) -> None:
        ann = provider.create(offer, spec_for("ann-0001")).ref
        bob = provider.create(offer, spec_for("bob-0001")).ref
        later = build()
        assert {instance.ref for instance in later.owned()} == {ann, bob}
        assert [instance.ref for instance in later.owned("ann-0001")] == [ann]
        assert later.owned("eve-0001") == []

    # Terminate

    def test_terminate_is_confirmed_by_get_and_may_be_repeated(
        self, provider: Provider, offer: Offer
    ) -> None:
        ref = provider.create(offer, spec_for()).ref
        provider.terminate(ref)
        assert self.settle(provider, ref, InstanceState.TERMINATED) is InstanceState.TERMINATED
        assert (provider.get(ref).access is not None) == provider.capabilities.claimed
        provider.terminate(ref)
        assert not provider.owned()

    def test_terminating_the_unknown_is_success(self, provider: Provider, offer: Offer) -> None:
        provider.terminate(InstanceRef(self.name, offer.location, "i-never-was"))

    def test_a_token_never_rents_again_what_has_ended(self, provider: Provider, offer: Offer) -> None:
        spec = spec_for()
        ref = provider.create(offer, spec).ref
        provider.terminate(ref)
        assert self.settle(provider, ref, InstanceState.TERMINATED).is_gone
        replayed = provider.create(offer, spec)
        assert replayed.ref == ref
        assert replayed.state.is_gone

    # The machine's own means

    def test_notice_and_self_destruction_are_data(self, provider: Provider, offer: Offer) -> None:
        instance = provider.create(offer, spec_for())
        probe = provider.notice(instance)
        assert probe is None or (isinstance(probe, NoticeProbe) and probe.interval_s > 0)
        assert isinstance(provider.self_destroy(instance), (Command, HttpRequest, type(None)))

    def test_a_command_of_self_destruction_ends_the_machine(
        self, provider: Provider, offer: Offer, tmp_path: Path
    ) -> None:
        instance = provider.create(offer, spec_for())
        command = provider.self_destroy(instance)
        if isinstance(command, Command):
            subprocess.run(command.argv, cwd=tmp_path, check=True, timeout=60)
            assert provider.get(instance.ref).state.is_gone


class FaultyCloudContract:
    """For providers whose cloud can be made to fail from a test; joins beside `ProviderContract`."""

    create_faults: ClassVar[Mapping[str, type[CloudError]]]
    """Name of a fault that strikes the first create → what it must be answered with."""
    endpoint_variable: ClassVar[str | None] = None
    """Which variable of ``self.cloud.environ()`` says where its API is; None where it is no host."""

    def build_with_fault(self, build: Build, call: str, kind: str) -> Provider:
        """Return the provider over a cloud whose first ``call`` fails so."""
        raise NotImplementedError

    def test_every_fault_of_create_is_typed_and_rents_nothing_unsaid(self, build: Build) -> None:
        offer = build().offers(Query())[0]
        for number, (kind, error) in enumerate(self.create_faults.items()):
            spec = spec_for(f"fault-{number:04}")
            with pytest.raises(error) as raised:
                self.build_with_fault(build, "create", kind).create(offer, spec)
            assert isinstance(raised.value, CloudError)
            rented = build().owned(spec.run_id)
            assert not rented or isinstance(raised.value, MayHaveBeenCreated)

    def test_a_lost_answer_leaves_what_can_be_found_by_token(self, build: Build) -> None:
        offer = build().offers(Query())[0]
        spec = spec_for("lost-0001")
        with pytest.raises(MayHaveBeenCreated) as raised:
            self.build_with_fault(build, "create", "lost_answer").create(offer, spec)
        assert raised.value.token == spec.token
        assert raised.value.left_behind
        (found,) = build().owned(spec.run_id)
        assert found.token == spec.token
        assert build().create(offer, spec).ref == found.ref

    def test_unreachable_is_not_gone(self, build: Build, tmp_path: Path) -> None:
        offer = build().offers(Query())[0]
        ref = build().create(offer, spec_for()).ref
        with pytest.raises(Transient):
            self.build_with_fault(build, "get", "unreachable").get(ref)
        assert not build().get(ref).state.is_gone
        if self.endpoint_variable is not None:
            self.nobody_can_resolve_its_name(self.endpoint_variable, tmp_path, offer, ref)
            assert not build().owned("dns-0001")

    def nobody_can_resolve_its_name(self, variable: str, home: Path, offer: Offer, ref: InstanceRef) -> None:
        """The same when this computer has no name service: a real resolver says so."""
        environ = self.cloud.environ(**{variable: "http://nowhere.invalid"})  # type: ignore[attr-defined]
        lost = registry.provider(ref.provider, ProviderContext(home=home, environ=environ, options={}))
        for ask in (
            lambda: lost.get(ref),
            lambda: lost.owned(),
            lambda: lost.terminate(ref),
            lambda: lost.create(offer, spec_for("dns-0001")),
        ):
            with pytest.raises((Transient, MayHaveBeenCreated)):
                ask()

    def test_a_lost_answer_to_terminate_has_still_ended_it(self, build: Build) -> None:
        offer = build().offers(Query())[0]
        ref = build().create(offer, spec_for()).ref
        with pytest.raises(Transient):
            self.build_with_fault(build, "terminate", "lost_answer").terminate(ref)
        assert build().get(ref).state.is_gone
