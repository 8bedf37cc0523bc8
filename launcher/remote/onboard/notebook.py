"""Executes a notebook as the job, cell by cell. Arguments::

    notebook PATH

Runs in the job's environment, which has nbclient and ipykernel. What the cells print goes to the log as it comes; after
each cell the executed copy lies in LAUNCH_OUTPUT_DIR, also when a later cell fails. SIGTERM interrupts the cell, which
may save and leave by ``SystemExit(75)``. Exit codes: 0 done, 2 it cannot be executed here, that of a SystemExit, 143
after an interruption that the cell did not answer, else 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

EXIT_CANNOT = 2
EXIT_TERMINATED = 128 + signal.SIGTERM
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
METRICS = "LAUNCH_METRICS_FILE"


class Execution:
    """One notebook and its copy."""

    def __init__(self, source: Path, copy: Path) -> None:
        self._format: Any = import_module("nbformat")
        self._errors: Any = import_module("nbclient.exceptions")
        self._copy = copy
        self._asked = False
        self.notebook: Any = self._format.read(str(source), as_version=4)
        self._code = [
            n
            for n, cell in enumerate(self.notebook.cells)
            if cell.cell_type == "code" and cell.source.strip()
        ]
        self._reports_itself = any(METRICS in cell.source for cell in self.notebook.cells)
        self._client: Any = self._make_client()

    def _make_client(self) -> Any:
        base: Any = import_module("nbclient").NotebookClient

        class Streaming(base):  # type: ignore[misc]
            def output(self, outs: Any, msg: Any, display_id: Any, cell_index: Any) -> Any:
                out = super().output(outs, msg, display_id, cell_index)
                tell_output(msg)
                return out

        return Streaming(
            self.notebook,
            timeout=None,
            km=import_module("jupyter_client").AsyncKernelManager(kernel_name="python3", transport="ipc"),
            extra_arguments=["--IPKernelApp.log_level=50"],
            resources={"metadata": {"path": os.getcwd()}},
            on_cell_execute=self._begins,
            on_cell_executed=self._ends,
        )

    def run(self) -> int:
        """Execute all cells and return the exit code."""
        signal.signal(signal.SIGTERM, self._on_term)
        try:
            self._client.execute()
        except self._errors.CellExecutionError as error:
            return self._exit_code(error)
        except self._errors.DeadKernelError:
            return self._exit_code_of_the_dead()
        finally:
            self._save()
        return 0

    def _on_term(self, number: int, frame: Any) -> None:
        """The cell sees a KeyboardInterrupt, as from a person."""
        self._asked = True
        say("asked to leave: the cell is interrupted")
        provisioner = getattr(self._client.km, "provisioner", None)
        pid = getattr(provisioner, "pid", None)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)

    def _exit_code_of_the_dead(self) -> int:
        """A SystemExit ends the kernel before it can say so; what it said is in the cell."""
        outputs = [
            one for n in self._code for one in self.notebook.cells[n].outputs if one.output_type == "error"
        ]
        if outputs and outputs[-1].ename == "SystemExit":
            return code_of_exit(outputs[-1].evalue)
        say("the kernel died: out of memory, or killed")
        return EXIT_TERMINATED if self._asked else 1

    def _exit_code(self, error: Any) -> int:
        name, value = str(getattr(error, "ename", "")), str(getattr(error, "evalue", ""))
        if name == "SystemExit":
            return code_of_exit(value)
        if self._asked:
            return EXIT_TERMINATED
        say("a cell failed: %s: %s" % (name, value))
        return 1

    def _begins(self, cell: Any, cell_index: int) -> None:
        if cell_index in self._code:
            say("cell %d of %d" % (self._code.index(cell_index) + 1, len(self._code)))

    def _ends(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        self._save()
        path = os.environ.get(METRICS)
        is_done = execute_reply["content"]["status"] == "ok"
        if path and is_done and not self._reports_itself and cell_index in self._code:
            line = {"step": self._code.index(cell_index) + 1, "total": len(self._code)}
            with open(path, "a") as metrics:
                metrics.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        beside = self._copy.with_name(self._copy.name + ".tmp")
        self._format.write(self.notebook, str(beside))
        beside.replace(self._copy)


def code_of_exit(value: str) -> int:
    """As Python itself reads the value of a SystemExit."""
    return int(value) if value.isdigit() else int(value not in ("", "None"))


def tell_output(message: Any) -> None:
    """What a cell says, for the log."""
    content = message["content"]
    kind = message["msg_type"]
    if kind == "stream":
        sys.stdout.write(content["text"])
    elif kind in ("execute_result", "display_data"):
        sys.stdout.write(content["data"].get("text/plain", "") + "\n")
    elif kind == "error" and content["ename"] != "SystemExit":
        sys.stdout.write(ESCAPES.sub("", "\n".join(content["traceback"])) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line for the log, at once."""
    sys.stdout.write("[launch] %s\n" % text)
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """See the top of this file."""
    source = Path(arguments[0])
    copy = Path(os.environ.get("LAUNCH_OUTPUT_DIR", ".")) / source.name
    try:
        execution = Execution(source, copy)
    except ImportError as error:
        say("%s is missing: name nbclient and ipykernel in the requirements of the environment" % error.name)
        return EXIT_CANNOT
    except Exception as error:
        say("%s is no notebook that can be executed: %s" % (source, error))
        return EXIT_CANNOT
    return execution.run()
