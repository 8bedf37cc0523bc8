"""The bill before the run, and what is refused before there is one."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.launcher.cli.conftest import Cli

JOB = "name: small\nrun: python train.py\nwork: {hours: 1, on: T4}\n"


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """The command, with no account anywhere and a small job."""
    (cli.cwd / "launch.yaml").write_text(JOB)
    nowhere = cli.cwd.parent / "nobody"
    nowhere.mkdir()
    kept = {key: value for key, value in cli.environ.items() if not key.startswith("AWS_")}
    return Cli(cli.home, cli.cwd, {**kept, "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(nowhere)})


def test_without_a_provider_every_one_is_priced_and_what_lacks_is_said(shop: Cli) -> None:
    found = shop("estimate", "--json")
    assert found.code == 0, found.err
    offers = [item["offer"] for item in found.document["estimates"]]
    assert {"local", "fake"} <= {offer["provider"] for offer in offers}
    usd = [item["usd"]["likely"] for item in found.document["estimates"]]
    assert usd == sorted(usd)
    free = found.document["free_hours"]
    assert {item["hardware"] for item in free if item["provider"] == "kaggle"} == {"T4 x2", "P100"}
    assert not any(item["can_be_started"] for item in free) and "kaggle" not in {
        offer["provider"] for offer in offers
    }
    missing = {item["provider"]: item["hint"] for item in found.document["without_offer"]}
    assert "--host" in missing["ssh"]
    shown = shop("estimate")
    assert shown.code == 0 and "fake t4.1x" in shown.out and "--host" in shown.out
    assert "kaggle T4 x2" in shown.out and "launch cannot start it yet" in shown.out


def test_launching_without_a_provider_names_the_two_ways(shop: Cli) -> None:
    found = shop("--dry-run")
    assert found.code == 2
    assert "launch estimate" in found.err and "--provider NAME" in found.err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("file_mounts: {data: nowhere}", "nowhere does not exist"),
        ("requires: [train.py]", "train.py"),
        ("workdir: nowhere", "nowhere"),
        ("secrets: {WANDB_KEY: }", "WANDB_KEY"),
    ],
)
def test_what_cannot_be_started_has_no_plan(shop: Cli, fields: str, said: str) -> None:
    (shop.cwd / "launch.yaml").write_text(f"{JOB}{fields}\n")
    found = shop("--provider", "fake", "--yes")
    assert found.code == 2
    assert said in found.err
    assert not found.out
    planned = shop("--provider", "fake", "--dry-run")
    assert planned.code == 2
    assert "in all" in planned.out and said in planned.err


def test_of_several_errors_all_are_said_at_once(shop: Cli) -> None:
    (shop.cwd / "launch.yaml").write_text(f"{JOB}file_mounts: {{data: nowhere}}\nrequires: [train.py]\n")
    found = shop("--provider", "fake", "--yes")
    assert "nowhere" in found.err and "train.py" in found.err


def test_what_is_certain_comes_before_what_is_offered(shop: Cli) -> None:
    (shop.cwd / "launch.yaml").write_text(f"{JOB}file_mounts: {{data: nowhere}}\n")
    found = shop("--provider", "fake", "--gpu", "T4:7", "--yes")
    assert found.code == 2 and "nowhere does not exist" in found.err


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (("--provider", "lokal"), "resources.cloud"),
        (("--provider", "local", "--set", "provider_options.fak.boot_s=1"), "provider_options.fak"),
    ],
)
def test_a_provider_that_does_not_exist_is_refused_with_the_nearest(
    shop: Cli, args: tuple[str, ...], field: str
) -> None:
    found = shop(*args, "--dry-run")
    assert found.code == 2
    assert field in found.err and "did you mean" in found.err


def test_amounts_are_those_of_people(shop: Cli) -> None:
    found = shop("estimate", "--provider", "fake", "--gpu", "T4")
    assert found.code == 0
    assert "this computer" not in found.out and "e+0" not in found.out
    mirrored = shop("--provider", "local", "--dry-run")
    assert "as the job says" not in mirrored.out.partition("market")[2]


def test_a_job_file_that_does_not_exist_names_what_does(shop: Cli, tmp_path: Path) -> None:
    found = shop("estimate", str(tmp_path / "nofile.yaml"))
    assert found.code == 2 and "there is no such file" in found.err and "-- python train.py" in found.err


def test_a_provider_without_an_account_is_priced_from_its_dated_table(shop: Cli) -> None:
    found = shop("estimate", "--json", "--gpu", "T4")
    assert found.code == 0, found.err
    rows = [item for item in found.document["estimates"] if item["offer"]["provider"] == "aws"]
    assert rows and {item["missing"] for item in rows} == {"credentials"}
    assert all(item["price_age_days"] > 1 and item["basis"] == "scaled" for item in rows)
    one = shop("estimate", "--provider", "aws", "--instance", "g4dn.xlarge")
    assert one.code == 0, one.err
    assert "in all" in one.out and "table of" in one.out and "priced from its dated table" in one.out


def test_offline_nobody_is_asked_and_csv_has_every_row(shop: Cli) -> None:
    found = shop("estimate", "--offline", "--csv", "--gpu", "T4")
    assert found.code == 0, found.err
    rows = list(csv.DictReader(found.out.splitlines()))
    assert {row["provider"] for row in rows} == {"aws", "fake", "gcp"}
    assert {row["missing"] for row in rows if row["provider"] == "aws"} == {"network"}
    assert all(float(row["usd_low"]) <= float(row["usd_likely"]) <= float(row["usd_high"]) for row in rows)


def test_a_named_provider_is_priced_offline_too_with_what_the_other_market_would_save(shop: Cli) -> None:
    named = shop("estimate", "--offline", "--provider", "aws", "--instance", "g4dn.xlarge")
    assert (
        named.code == 0 and "market: on demand at" in named.out and "priced from its dated table" in named.out
    )
    here = shop("estimate", "--offline", "--provider", "local", "--json")
    assert here.code == 0, here.err
    assert here.document["market"] == "free" and len(here.document["estimates"]) == 1


STAGES = """
name: night
stages:
  - {name: features, run: python features.py, outputs: f.h5, resources: {cpus: 2+}}
  - {name: train, run: python train.py, needs: features, work: {hours: 1, on: T4}, resources: {accelerators: T4}}
  - {name: compare, run: python compare.py, after: train}
"""


def test_a_job_with_stages_is_priced_offline_too_and_all_its_numbers_sum_up(shop: Cli) -> None:
    (shop.cwd / "launch.yaml").write_text(STAGES)
    wish = ("estimate", "--offline", "--provider", "aws")
    shown = shop(*wish)
    assert shown.code == 0, shown.err
    assert "market: on demand at" in shown.out and "spot would save" in shown.out
    assert "priced from its dated table" in shown.out
    asked = shop(*(word for word in wish if word != "--offline"), "--json")
    assert asked.code == 0, asked.err
    assert asked.document["estimates"][0]["missing"] == "credentials", (
        "asked in vain, and priced all the same"
    )
    (whole,) = shop(*wish, "--json").document["estimates"]
    assert whole["missing"] == "network" and [stage["name"] for stage in whole["stages"]] == [
        "features", "train", "compare",
    ]  # fmt: skip
    assert [stage["stays"] for stage in whole["stages"]] == [False, False, True]
    for item in (whole, *whole["stages"]):
        assert sum(line["usd"] for line in item["lines"]) == pytest.approx(item["usd"]["likely"], abs=1e-6)
    for unit in ("usd", "hours"):
        for case in ("low", "likely", "high"):
            parts = sum(stage[unit][case] for stage in whole["stages"])
            assert parts == pytest.approx(whole[unit][case], abs=2e-4)
    rows = list(csv.DictReader(shop(*wish, "--csv").out.splitlines()))
    assert [row["stage"] for row in rows] == ["features", "train", "compare", "all"]
    assert [row["gpu"] for row in rows] == ["", "T4", "T4", ""]
    assert sum(float(row["usd_likely"]) for row in rows[:3]) == pytest.approx(
        float(rows[3]["usd_likely"]), abs=2e-4
    )
    ranked = shop("estimate", "--offline", "--json")
    assert {item["offer"]["provider"] for item in ranked.document["estimates"]} >= {"aws", "fake", "gcp"}


def test_a_provider_whose_table_has_a_machine_for_some_stages_alone_is_no_row_and_says_why(shop: Cli) -> None:
    stages = STAGES.replace("compare.py, after: train", "compare.py, resources: {WHERE}")
    (shop.cwd / "launch.yaml").write_text(stages.replace("WHERE", "accelerators: RTX 4090"))
    shown = shop("estimate", "--offline")
    assert shown.code == 0, shown.err
    assert (
        "vast 1x-RTX-4090" in shown.out
        and "stage compare: nothing to rent: nobody has 1 × RTX 4090" in shown.out
    )
    either = stages.replace("WHERE", "accelerators: A100, any_of: [{cloud: aws}, {cloud: gcp}]")
    (shop.cwd / "launch.yaml").write_text(
        either.replace("cpus: 2+", "cpus: 2+, cloud: gcp").replace("T4}}", "T4, cloud: gcp}}")
    )
    named = shop("estimate", "--offline")
    assert named.code == 0, named.err
    assert "gcp" in named.out and "priced from its dated table" in named.out


def test_what_fits_comes_first_and_nothing_fits_is_exit_5(shop: Cli) -> None:
    found = shop("estimate", "--offline", "--json", "--gpu", "T4", "--max-cost", "1")
    assert found.code == 0
    shares = [item["fits"]["share"] for item in found.document["estimates"]]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1.0 > shares[-1]
    none = shop("estimate", "--offline", "--gpu", "T4", "--max-cost", "0.05")
    assert none.code == 5 and "%" in none.out
    here = ("estimate", "--provider", "fake", "--gpu", "T4")
    poor = shop(*here, "--max-cost", "0.05", "--json")
    assert poor.code == 5 and {item["fits"]["share"] < 1.0 for item in poor.document["estimates"]} == {True}
    late = shop(
        *here, "--max-cost", "0.05", "--until", f"{datetime.now() + timedelta(minutes=9):%Y-%m-%dT%H:%M}"
    )
    assert late.code == 5 and "in all" in late.out, late.err
    assert "! fits ($0.050, by 20" in late.out and " % of the work, bound by " in late.out
    (shop.cwd / "two.yaml").write_text("stages: [{name: a, run: a}, {name: b, run: b}]\n")
    two = shop("estimate", "two.yaml", *here[1:], "--max-cost", "0.2")
    assert two.code == 5 and "! fits ($0.20): 0 % of the work, bound by money" in two.out, two.err
    rich = shop(*here, "--max-cost", "1000")
    assert rich.code == 0 and "  fits ($1,000): yes, even in the high case" in rich.out


def test_memory_of_a_gpu_chooses_the_machine(shop: Cli) -> None:
    found = shop("offers", "--offline", "--gpu-memory", "30GB", "--json")
    assert found.code == 0, found.err
    offers = found.document["offers"]
    assert offers and all(item["gpu_memory_gib"] * 2**30 >= 30e9 for item in offers)
    assert [item["usd_per_hour"] for item in offers] == sorted(item["usd_per_hour"] for item in offers)
    shown = shop("offers", "--offline", "--gpu", "L4", "--spot")
    assert shown.code == 0 and "aws g6.xlarge spot" in shown.out and "network" in shown.out


def test_where_nothing_matches_words_say_what_to_give_up_and_lists_are_empty(shop: Cli) -> None:
    wish = ("--offline", "--gpu", "T4", "--max-price", "0.01")
    none = shop("offers", *wish)
    assert (none.code, none.out) == (4, "")
    assert "nobody has 1 × T4, up to $0.01/h" in none.err and "what to do: --max-price" in none.err
    assert shop("offers", *wish, "--json").document["offers"] == []
    head = shop("offers", *wish, "--csv")
    assert head.code == 4 and head.out.startswith("provider,instance_type,") and head.out.count("\n") == 1
    refused = shop("estimate", *wish, "--json")
    assert refused.code == 4 and refused.document["error"]["hint"].startswith("--max-price")


def test_stdout_has_one_form(shop: Cli) -> None:
    for command in ("offers", "estimate"):
        both = shop(command, "--offline", "--json", "--csv")
        assert both.code == 2 and "--json and --csv" in both.document["error"]["message"]


def test_what_is_estimated_is_what_is_planned_and_what_is_enforced(shop: Cli) -> None:
    where = ("--provider", "fake", "--instance", "t4.1x")
    told = shop("estimate", *where, "--json").document["estimates"][0]
    planned = shop(*where, "--dry-run", "--json").document["plan"]
    assert planned["usd"] == told["usd"] and planned["lines"] == told["lines"]
    likely = told["usd"]["likely"]
    refused = shop(*where, "--dry-run", "--max-cost", f"{0.9 * likely:.4f}")
    assert refused.code == 5 and f"${likely:.2f}" in refused.err
    allowed = shop(*where, "--dry-run", "--json", "--max-cost", f"{1.1 * likely:.4f}")
    assert allowed.code == 0
    assert allowed.document["plan"]["limits"]["max_cost_usd"] == pytest.approx(1.1 * likely, abs=1e-3)
