"""The commands of the archive::

    run RUN.json            run one start of one stage: its parent, its log, its alarm clock (inside tmux)
    sweep RUN.json          kill whatever watchdogs of this stage left behind
    guard DEADLINE.json     destroy the machine at its hard deadline (started by ``run``)
    push RUN.json           bring what nobody fetches to an object store (started by ``run``)
    place                   unpack the code and lay out the data; request and answer are JSON on stdin and stdout
    carry                   put outputs of an earlier stage into the working folder; the same
    manifest                list files with their digests; the same
    stream                  files as a tar stream, to the machine and from it
    download LIST.json      fetch data from the web
    restore                 fetch the newest checkpoint from an object store; JSON in and out
    environment ORDERS.json make a Python environment
    record RUN.json         write down what the job really runs with
    trainer FOLDER WHEEL    make the trainer a command beside the machine's own Python
    probe                   try the GPU in the job's environment
    trial                   try a rented machine before any data is sent; JSON on stdin and stdout
    notebook PATH           execute a notebook as the job

What ``run`` is told is ``run.json``; what it tells is ``status.json``; ``docs/run-directory.md`` describes both.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import List

COMMANDS = {
    "run": "start",
    "sweep": "sweep",
    "guard": "guard",
    "push": "push",
    "place": "place",
    "carry": "carry",
    "manifest": "manifest",
    "stream": "stream",
    "download": "download",
    "restore": "restore",
    "environment": "environment",
    "record": "record",
    "trainer": "trainer",
    "probe": "probe",
    "trial": "trial",
    "notebook": "notebook",
}


def main(arguments: List[str]) -> int:
    """Run a command and return its exit code; only its own module is imported."""
    if not arguments or arguments[0] not in COMMANDS:
        sys.exit("usage: watchdog.pyz %s …" % "|".join(COMMANDS))
    module = import_module("." + COMMANDS[arguments[0]], __package__)
    return int(module.main(arguments[1:]))
