from pathlib import Path

import pytest

from trainer.synthetic import SyntheticSpec, write_dataset


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny data set, written once; tests only read it."""
    out = tmp_path_factory.mktemp("synthetic") / "tiny"
    write_dataset(out, SyntheticSpec.tiny())
    return out
