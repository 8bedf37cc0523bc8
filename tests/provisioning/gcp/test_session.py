"""Who is logged in, and to which project: Google's own ways, read from the given environment alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launcher import doctor
from provisioning import BadCredentials, PermissionDenied, Query, Unreachable
from provisioning.gcp.session import COMPUTE, endpoint, new_session
from tests.provisioning.gcp.cloud import PROJECT, Fault, GceCloud
from tests.provisioning.gcp.conftest import Build
from tests.provisioning.gcp.keys import EMAIL


def without_key(cloud: GceCloud, **more: str) -> dict[str, str]:
    environ = cloud.environ(**more)
    del environ["GOOGLE_APPLICATION_CREDENTIALS"]
    return environ


def test_a_key_file_says_who_and_where(cloud: GceCloud) -> None:
    session = new_session(cloud.environ(), None)
    assert (session.project, session.credentials.service_account_email) == (PROJECT, EMAIL)
    assert "PRIVATE" not in repr(session)


@pytest.mark.parametrize("below_home", [True, False])
def test_a_users_login_is_found_where_gcloud_writes_it(
    cloud: GceCloud, tmp_path: Path, below_home: bool
) -> None:
    folder = tmp_path / ".config" / "gcloud" if below_home else tmp_path
    (folder / "configurations").mkdir(parents=True)
    login = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
    (folder / "application_default_credentials.json").write_text(json.dumps(login))
    told = {"HOME": str(tmp_path)} if below_home else {"CLOUDSDK_CONFIG": str(tmp_path)}
    environ = without_key(cloud, **told)
    with pytest.raises(BadCredentials, match="nothing names the project") as refused:
        new_session(environ, None)
    assert "gcloud config set project" in str(refused.value.hint)
    (folder / "configurations" / "config_default").write_text("[core]\nproject = from-gcloud\n")
    assert new_session(environ, None).project == "from-gcloud"
    (folder / "active_config").write_text("work\n")
    (folder / "configurations" / "config_work").write_text("[core]\nproject = from-work\n")
    assert new_session(environ, None).project == "from-work"
    assert new_session({**environ, "GOOGLE_CLOUD_PROJECT": "from-environ"}, None).project == "from-environ"
    assert new_session({**environ, "GOOGLE_CLOUD_PROJECT": "from-environ"}, "from-job").project == "from-job"


def test_a_machine_of_googles_logs_in_by_its_metadata_service(build: Build, cloud: GceCloud) -> None:
    environ = without_key(cloud, GCE_METADATA_HOST=cloud.url.removeprefix("http://"))
    del environ["NO_GCE_CHECK"]
    provider = build(environ=environ)
    provider.check()
    assert provider.offers(Query(instance_type="e2-small"))


@pytest.mark.parametrize("text", ["{", '{"type": "nothing"}', '{"type": "service_account"}'])
def test_a_file_that_is_no_login_says_so(build: Build, cloud: GceCloud, tmp_path: Path, text: str) -> None:
    (tmp_path / "key.json").write_text(text)
    environ = cloud.environ(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    with pytest.raises(BadCredentials) as refused:
        build(environ=environ).check()
    assert "gcloud auth application-default login" in str(refused.value.hint)


def test_a_key_that_google_does_not_know_is_refused(build: Build, cloud: GceCloud, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    told = json.loads(Path(cloud.key_file).read_text())
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "key.json").write_text(json.dumps({**told, "private_key": pem.decode()}))
    with pytest.raises(BadCredentials, match="authError"):
        build(environ=cloud.environ(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))).check()


def test_nobody_is_logged_in(build: Build, cloud: GceCloud) -> None:
    with pytest.raises(BadCredentials, match="nobody is logged in"):
        build(environ=without_key(cloud)).check()


def test_what_check_says_of_a_project(build: Build, cloud: GceCloud) -> None:
    build().check()
    cloud.faults.append(
        Fault("projects.get", "accessNotConfigured", 403, message="Compute Engine API is off")
    )
    with pytest.raises(PermissionDenied) as refused:
        build().check()
    assert refused.value.hint == "`gcloud services enable compute.googleapis.com`"
    gone = cloud.environ(CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE="http://127.0.0.1:9/compute/v1/")
    with pytest.raises(Unreachable):
        build(environ=gone).check()


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("", COMPUTE),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/compute/v1/", "http://127.0.0.1:8080"),
        ("https://compute.example/compute/v1", "https://compute.example"),
    ],
)
def test_an_api_is_redirected_as_gcloud_writes_it(told: str, address: str) -> None:
    assert endpoint({"CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": told}, "compute", COMPUTE) == address


def test_the_doctor_says_what_a_person_should_know(cloud: GceCloud, tmp_path: Path) -> None:
    environ = cloud.environ(LAUNCH_HOME=str(tmp_path / "state"), HOME=str(tmp_path))
    words = " ".join(item.message for item in doctor.findings(environ) if item.check == "provider gcp")
    assert "can be used" in words
    assert "GPUS_ALL_REGIONS is 1" in words
    assert f"{EMAIL} signs" in words


def test_the_sdk_is_not_imported_before_it_is_needed(cloud: GceCloud) -> None:
    script = (
        "import sys; from provisioning import registry, ProviderContext; from pathlib import Path;"
        "registry.provider('gcp', ProviderContext(home=Path('/tmp'), environ={}));"
        "from provisioning.dated import dated_offers; from provisioning import Query;"
        "assert dated_offers('gcp', Query(gpu_name='T4'));"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'google'], 'imported'"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
