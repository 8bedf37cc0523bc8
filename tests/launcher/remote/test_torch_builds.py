"""Which torch a machine's GPU gets."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.job.lock_format import LockFormat
from launcher.remote import torch_builds
from launcher.remote.environments import means_the_working_folder, recipe_of
from launcher.remote.torch_builds import Gpus, TorchBuild, allowed_releases, build_for, torch_build
from launcher.runners.base import Environment

V100 = Gpus(driver="580.95.05", capabilities=((7, 0),), name="Tesla V100-SXM2-16GB")
T4_OLD_DRIVER = Gpus(driver="535.183.01", capabilities=((7, 5),), name="Tesla T4")
H100 = Gpus(driver="580.95.05", capabilities=((9, 0),), name="NVIDIA H100")
RTX_5090 = Gpus(driver="570.86.10", capabilities=((12, 0),), name="NVIDIA GeForce RTX 5090")


@pytest.mark.parametrize(
    ("gpus", "asked", "backend", "words"),
    [
        (
            H100,
            [],
            None,
            "torch as on PyPI (CUDA 13.0): NVIDIA H100, compute capability 9.0, driver 580.95.05",
        ),
        (V100, [], "cu126", "(CUDA 13.0) has no code for compute capability 7.0"),
        (V100, ["==2.9.1"], "cu126", "(CUDA 12.8) has no code for compute capability 7.0"),
        (V100, ["==2.6.0"], None, "torch as on PyPI (CUDA 12.4)"),
        (T4_OLD_DRIVER, [], "cu126", "(CUDA 13.0) needs driver 580 or newer"),
        (T4_OLD_DRIVER, [">=2.4", "<2.11"], None, "torch as on PyPI (CUDA 12.8)"),
        (RTX_5090, [], "cu128", "driver 570.86.10"),
        (RTX_5090, ["~=2.5.0"], None, "no build of the torch that is asked for runs here"),
        (Gpus(driver="470.1", capabilities=((7, 5),)), [], "cu118", "CUDA 11.8"),
        (Gpus(driver="470.1"), ["==2.9.*"], None, "no build of the torch that is asked for runs here"),
        (Gpus(driver="580.95.05", capabilities=((8, 9), (6, 1))), [], "cu126", "compute capability 6.1"),
        (Gpus(amd=True), [], None, "ROCm"),
    ],
)
def test_the_build_fits_the_machine_and_says_why(
    gpus: Gpus, asked: list[str], backend: str | None, words: str
) -> None:
    found = build_for(gpus, asked)
    assert found is not None
    assert found.backend == backend
    assert words in found.reason


def test_releases_that_nobody_knows_are_left_alone() -> None:
    assert build_for(H100, ["==1.13.1"]) is None
    assert build_for(H100, [">=3"]) is None
    assert allowed_releases([">=2.6", "!=2.7.*", "<2.9.1"]) == {(2, 6), (2, 8), (2, 9)}
    assert allowed_releases(["===2.6.1"]) == {(2, 6)}


@given(
    driver=st.integers(min_value=440, max_value=620),
    capabilities=st.lists(
        st.sampled_from([(5, 2), (6, 0), (7, 0), (7, 5), (8, 9), (9, 0), (10, 3), (12, 1)]), max_size=3
    ),
)
def test_what_is_chosen_runs_there(driver: int, capabilities: list[tuple[int, int]]) -> None:
    gpus = Gpus(driver=f"{driver}.100", capabilities=tuple(capabilities))
    found = build_for(gpus, [])
    assert found is not None
    if found.backend is not None:
        build = torch_builds._named(found.backend)
        assert torch_builds._why_not(build, gpus) is None
    newer = build_for(Gpus(driver="999.1", capabilities=tuple(capabilities)), [])
    assert newer is not None
    if not found.reason.startswith("no build"):  # a newer driver never takes a build away
        assert not newer.reason.startswith("no build")


@pytest.mark.parametrize(
    ("environment", "variables"),
    [
        (Environment(lock="torch==2.13.0", lock_format=LockFormat.PINNED), ()),
        (Environment(conda="dependencies: [pytorch]"), ()),
        (Environment(python="3.11"), ()),
        (Environment(requirements="--index-url https://mirror.example/simple\ntorch"), ()),
        (Environment(requirements="-r more.txt", included={"more.txt": "--no-index\ntorch"}), ()),
        (Environment(requirements="torch==2.5.1+cu121"), ()),
        (Environment(requirements=f"torch==2.13.0 --hash=sha256:{'0' * 64}"), ()),
        (Environment(requirements="torch @ https://example.org/torch.whl"), ()),
        (Environment(requirements="torch"), ("PIP_INDEX_URL",)),
        (Environment(requirements="torch"), ("UV_TORCH_BACKEND",)),
    ],
)
def test_nothing_is_chosen_over_somebodys_choice(
    environment: Environment, variables: tuple[str, ...]
) -> None:
    assert torch_build(environment, V100, variables=variables) is None


def test_what_the_requirements_name_is_what_pip_is_told() -> None:
    asked = Environment(requirements="numpy\nTorch>=2.6 ; python_version > '3'\ntorchvision", included={})
    found = torch_build(asked, V100)
    assert found is not None
    assert found.packages == ("Torch>=2.6 ; python_version > '3'", "torchvision")
    assert found.index == "https://download.pytorch.org/whl/cu126"
    through_another = torch_build(Environment(requirements="lightning"), V100)
    assert through_another is not None
    assert (through_another.backend, through_another.packages) == ("cu126", ())
    assert torch_build(Environment(requirements="lightning"), H100) is None, "nothing to say either"
    assert torch_build(Environment(requirements="torch"), Gpus()) is None


def folder(environment: Environment, **changes: object) -> str:
    plain = {
        "cache": PurePosixPath("/cache"),
        "machine": [[3, 11, 7]],
        "wheel": None,
        "torch": None,
        "prepared": True,
    }
    return str(recipe_of(environment, **{**plain, **changes}).folder)  # type: ignore[arg-type]


def test_whatever_an_environment_is_made_of_is_in_its_name() -> None:
    plain = Environment(requirements="-r a.txt\n", included={"a.txt": "numpy"})
    locked = Environment(lock="a==1", lock_format=LockFormat.PINNED)
    built = TorchBuild(reason="old GPU", backend="cu126")
    folders = [
        folder(plain),
        folder(Environment(requirements="-r a.txt\n", included={"a.txt": "numpy<2"})),
        folder(Environment(requirements="-r a.txt\n", included={"a.txt": "numpy"}, python="3.12")),
        folder(Environment(requirements="-r a.txt\n", included={"a.txt": "numpy"}, added=("nbclient",))),
        folder(plain, torch=built),
        folder(plain, machine=[[3, 10, 1]]),
        folder(plain, wheel=PurePosixPath("/cache/trainer-1.whl")),
        folder(locked),
        folder(Environment(requirements="a==1")),
        folder(Environment(lock="a==1", lock_format=LockFormat.UV, project="x")),
        folder(Environment(lock="a==1", lock_format=LockFormat.UV, project="y")),
        folder(Environment(lock="a==1", lock_format=LockFormat.UV, project="y", extras=("gpu",))),
        folder(Environment(conda="a==1")),
    ]
    assert len(set(folders)) == len(folders)
    assert folder(plain, prepared=False) == folder(plain), "how it is made does not change what it is"
    assert folder(locked, torch=built) == folder(locked), "a lock is never touched"
    assert folder(plain, torch=TorchBuild(reason="as on PyPI")) == folder(plain)


def test_code_that_gets_into_an_environment_is_seen() -> None:
    assert means_the_working_folder(Environment(requirements="numpy\n-e .\n"))
    assert means_the_working_folder(Environment(requirements="-r a", included={"a": "./mine[x]"}))
    assert not means_the_working_folder(
        Environment(requirements="numpy>=1 # ./mine\nx @ https://e.org/x.whl")
    )
