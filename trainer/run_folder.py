"""Where a run keeps its files; answered once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.config import Config
from trainer.contract import JobEnvironment
from trainer.errors import ConfigError, RunFolderBusy
from trainer.interrupt import Interrupt
from trainer.loading import LeftEarly

__all__ = ["RunFolder", "locate_data", "locate_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """All paths of one run."""

    root: Path
    checkpoints: Path
    """Resume states, ``step_*.pt``."""
    official: Path
    """By-products in the official form: ``best_checkpoint``, ``args.yaml``, ``val_metrics.pkl``."""

    @property
    def metrics(self) -> Path:
        """One line per step."""
        return self.root / "metrics.csv"

    @property
    def log(self) -> Path:
        """What was said, with time stamps."""
        return self.root / "training_log"

    @property
    def trials(self) -> Path:
        """Which trials were used, in the official form."""
        return self.root / "train_val_trials.json"

    @property
    def best(self) -> Path:
        """The model with the lowest validation PER."""
        return self.official / "best_checkpoint"

    @property
    def args(self) -> Path:
        """The configuration as it was used, with all sessions named."""
        return self.official / "args.yaml"

    @property
    def val_metrics(self) -> Path:
        """Validation results of the best model."""
        return self.official / "val_metrics.pkl"

    def create(self) -> None:
        """Make the folders. Raises `ConfigError` when that is impossible."""
        for folder in (self.root, self.checkpoints, self.official):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"run folder {folder} cannot be made: {error.strerror}") from error

    @contextlib.contextmanager
    def held(
        self, interrupt: Interrupt, say: Callable[[str], None], wait_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> Iterator[None]:  # fmt: skip
        """Keep other trainers out of this folder meanwhile; the lock ends with the process, however it ends.

        Waits for a process before this one that is still on its way out. Raises `RunFolderBusy` when it
        stays, `LeftEarly` when somebody asks this program to leave. File systems without locks are trusted.
        """
        descriptor = os.open(self.root, os.O_RDONLY | os.O_CLOEXEC)
        try:
            deadline, said = clock() + wait_s, False
            while not _locked(descriptor):
                if interrupt.requested:
                    raise LeftEarly
                if clock() > deadline:
                    raise RunFolderBusy(
                        f"another process trains in {self.root}, and has not left it for {wait_s:.0f} s",
                        hint="wait for its end, or name another --run-dir",
                    )
                if not said:
                    say(f"another process trains in {self.root}: waiting for its end")
                    said = True
                time.sleep(0.1)
            yield
        finally:
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock is ours, or nobody can have one."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def locate_run(config: Config, run_dir: Path | None, job: JobEnvironment) -> RunFolder:
    """``--run-dir``, else ``LAUNCH_OUTPUT_DIR``, else `output_dir` of the configuration.

    Resume states lie in ``LAUNCH_CHECKPOINT_DIR``, else in ``checkpoints/`` of the run folder.
    """
    root = run_dir or job.output_dir
    official = None
    if root is None and config.output_dir is not None:
        root = Path(config.output_dir)
        official = Path(config.checkpoint_dir) if config.checkpoint_dir else None
    if root is None:
        raise ConfigError("no run folder: say --run-dir, or set output_dir in the configuration")
    return RunFolder(
        root=root,
        checkpoints=job.checkpoint_dir or root / "checkpoints",
        official=official or root / "checkpoint",
    )


def locate_data(config: Config, data_dir: Path | None, job: JobEnvironment) -> Path:
    """``--data-dir``, else ``LAUNCH_DATA_DIR``, else `dataset.dataset_dir` of the configuration."""
    found = (
        data_dir or job.data_dir or (Path(config.dataset.dataset_dir) if config.dataset.dataset_dir else None)
    )
    if found is None:
        raise ConfigError("no data folder: say --data-dir, or set dataset.dataset_dir in the configuration")
    return found
