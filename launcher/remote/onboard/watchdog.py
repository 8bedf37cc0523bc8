"""The parent of the job: it runs the steps, keeps their output, watches the clock, and tells how it went.

One thread does everything that matters, in one loop. It never waits for a disk to be hashed or a server to answer:
that happens in threads which only hand their result back.
"""

from __future__ import annotations

import collections
import contextlib
import os
import selectors
import signal
import sys
import time
import traceback
from typing import Any, Callable, Deque, Dict, List, Optional

from .background import FolderWatch, Timer, Worker
from .checkpoints import Checkpoints
from .children import Children
from .exhaustion import GPU, MEMORY, TAIL_BYTES, out_of_memory
from .files import epoch, read_json, read_text, replace_file, utc
from .gpu import GpuUse
from .host import HostMetrics
from .leftover import Idleness
from .metrics import Metrics
from .mirror import Mirror
from .orders import job_environ
from .output import Output
from .patterns import Patterns
from .processes import name_them, out_of_memory_kills
from .provider import NoticeProbe
from .record import digest_data
from .repetition import Repetition
from .status import Status

EXIT_CANNOT_START = 127
EXIT_INTERRUPTED = 75
OUTPUT_BYTES = 1 << 16
MOST_FAULTS = 100
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)


class Watchdog:
    """One start of one stage, from the first step to the end of the last descendant."""

    def __init__(self, orders: Dict[str, Any], output: Output, status: Status) -> None:
        self._orders = orders
        self._paths: Dict[str, str] = orders["paths"]
        self._output = output
        self._status = status
        self._steps: Deque[Dict[str, Any]] = collections.deque(orders["steps"])
        self._step: Dict[str, Any] = {}
        self._leaving = False
        self._kill_at: Optional[float] = None
        self._steps_over = False
        self._final_scan = False
        self._over = False
        self._faults = 0
        self._began = time.monotonic()
        self._job_began: Optional[float] = None
        self._oom_kills = out_of_memory_kills()
        self._soft_deadline = epoch(orders["soft_deadline"])
        self._hard_deadline = epoch(orders["hard_deadline"])
        self._wake_read, self._wake_write = os.pipe()
        self._output_read, output_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write, self._output_read):
            os.set_blocking(descriptor, False)
        self._children = Children(output_write, self._step_ended)
        self._rest = Idleness(orders["leftover_idle_s"])
        self._hasher = Worker(self._wake)
        self._network = Worker(self._wake)
        self._uploader = Worker(self._wake)
        self._recorder = Worker(self._wake)
        self._metrics = Metrics(self._paths["metrics"], orders.get("best_of"))
        self._patterns = Patterns(orders.get("progress", []), self._paths["metrics"])
        self._tail = b""
        settle_s = orders["intervals"]["scan_s"]
        self._checkpoints = Checkpoints(self._paths["checkpoints"], self._hasher, output.say, settle_s)
        self._mirror = Mirror(orders, self._uploader, output.say)
        self._repetition = Repetition(self._paths)
        self._arrivals = FolderWatch()
        self._host = HostMetrics(self._paths["system"], self._paths["run"])
        self._gpu = GpuUse(self._children)
        self._probe = NoticeProbe(orders["notice"]) if orders["notice"] else None

    # The loop. Everything else is called from here.

    def run(self) -> None:
        """Run the steps; returns when every descendant is gone and the last word is written."""
        self._catch_signals()
        timers = self._timers()
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
            selector.register(self._output_read, selectors.EVENT_READ, self._copy_output)
            if self._arrivals.descriptor >= 0:
                selector.register(self._arrivals.descriptor, selectors.EVENT_READ, self._look_at_arrivals)
                self._arrivals.add(self._paths["control"])
                self._arrivals.add(self._paths["checkpoints"])
            self._guarded(self._sample)
            self._checkpoints.newest_good(self._begin)
            self._guarded(self._look_for_wishes)
            while not self._over:
                wait_s = max(0.0, min(timer.due for timer in timers) - time.monotonic())
                for key, _ in selector.select(wait_s):
                    self._guarded(key.data)
                now = time.monotonic()
                for timer in timers:
                    if timer.is_due(now):
                        self._guarded(timer.act)

    def _timers(self) -> List[Timer]:
        every = self._orders["intervals"]
        timers = [
            Timer(every["tick_s"], self._tick),
            Timer(every["heartbeat_s"], self._status.write),
            Timer(every["scan_s"], self._scan),
            Timer(every["sample_s"], self._sample),
        ]
        if self._probe:
            timers.append(Timer(self._probe.interval_s, self._look_for_notice))
        return timers

    def _guarded(self, act: Callable[[], Any]) -> None:
        """A fault of ours is recorded and must not end the job; a flood of them would hide that nobody watches."""
        try:
            act()
        except Exception:
            traceback.print_exc(file=sys.stderr)
            self._faults += 1
            if self._faults >= MOST_FAULTS:
                raise

    def _wake(self) -> None:
        """Called by threads: have the loop look at their results."""
        with contextlib.suppress(BlockingIOError):  # full: it is about to wake up anyway
            os.write(self._wake_write, b"\0")

    def _catch_signals(self) -> None:
        # Functions and not SIG_IGN: what is ignored here would be ignored by the job's processes too.
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    def _woken(self) -> None:
        try:
            numbers = os.read(self._wake_read, 4096)
        except BlockingIOError:
            return
        if signal.SIGTERM in numbers:
            self._ask_to_leave("notice", "the watchdog was told to end: the machine is shutting down")
        if signal.SIGINT in numbers:
            self._output.say(
                "Ctrl-C does nothing here: `launch stop %s` saves and ends" % self._orders["run_id"]
            )
        self._reap()
        self._hasher.take()
        self._network.take()
        self._uploader.take()
        self._recorder.take()
        self._end_if_over()

    def _tick(self) -> None:
        """Once a second: the wall clock, which may have jumped, and whatever no event announces."""
        now = time.time()
        if self._hard_deadline is not None and now >= self._hard_deadline:
            self._kill("deadline", "the hard deadline has passed")
        elif self._soft_deadline is not None and now >= self._soft_deadline:
            self._ask_to_leave("deadline", "the deadline has come")
        if self._is_late():
            self._kill_rest()
        self._children.end_helpers(late_ones_only=True)
        self._look_for_wishes()
        self._reap()
        self._patterns.look()
        if self._metrics.read() or self._status.fields["log"]["bytes"] != self._output.end:
            self._update_status()
            self._status.write()
        if self._steps_over and not self._leaving and self._rest.look(self._children.living()):
            self._output.say("what the job left running is idle and ends now")
            self._end_rest()
        self._end_if_over()

    def _update_status(self) -> None:
        self._status.fields["log"] = {"start": self._output.start, "bytes": self._output.end}
        self._status.fields["metrics"] = self._metrics.summary()
        self._status.fields["progress"] = self._patterns.summary()
        self._status.fields["checkpoints"] = self._checkpoints.summary()
        self._status.fields["mirrored"] = self._mirror.summary()

    def _copy_output(self) -> bool:
        try:
            data = os.read(self._output_read, OUTPUT_BYTES)
        except BlockingIOError:
            return False
        self._output.write(data)
        self._repetition.take(data)
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        if not self._steps:
            self._patterns.feed(data)
        return True

    # Steps.

    def _begin(self, resume_from: Optional[str]) -> None:
        path = os.path.join(self._paths["checkpoints"], resume_from) if resume_from else ""
        self._environ = job_environ(self._orders, path)
        self._status.change(resumed_from=resume_from)
        if resume_from:
            self._output.say("going on from checkpoint %s" % resume_from)
        self._next_step()

    def _next_step(self) -> None:
        if self._leaving:
            self._end_steps(EXIT_INTERRUPTED, self._status.fields["reason"])
            return
        while self._steps:
            step = self._steps.popleft()
            if not (step["once"] and os.path.exists(self._done_mark(step))):
                self._start(step)
                return
        self._end_steps(0, "there was nothing to do")

    def _start(self, step: Dict[str, Any]) -> None:
        self._step = step
        self._tail = b""
        is_job = not self._steps
        if is_job:
            self._repetition.begin()
        try:
            pid, started = self._children.start_step(step["argv"], self._paths["workdir"], self._environ)
        except OSError as error:
            self._end_steps(EXIT_CANNOT_START, "%s cannot be started: %s" % (step["name"], error))
            return
        if is_job:
            self._job_began = time.monotonic()
            self._status.fields["setup_s"] = round(self._job_began - self._began, 3)
            self._gpu.job_began()
            if self._orders["record"] is not None:
                self._recorder.submit(lambda: digest_data(self._orders), self._recorded)
        phase = "running" if is_job else "setup"
        self._status.change(phase=phase, step=step["name"], job={"pid": pid, "started": started})

    def _recorded(self, result: Any) -> None:
        if isinstance(result, Exception):
            self._output.say("the data could not be recorded: %s" % result)

    def _step_ended(self, code: int) -> None:
        while self._copy_output():
            pass
        step = self._step
        if code == 0 and step["once"]:
            with contextlib.suppress(OSError):  # then it is done again by the next start
                replace_file(self._done_mark(step), b"")
        if code == 0 and self._steps:
            self._next_step()
            return
        if not self._leaving:
            self._status.fields["fault"] = step.get("faults", {}).get(str(code))
            self._status.fields["out_of_memory"] = self._what_ran_out(code)
        self._end_steps(code, self._how_it_ended(step, code))

    def _how_it_ended(self, step: Dict[str, Any], code: int) -> str:
        what = "the job" if not self._steps else step["name"]
        text = "%s ended with exit code %d" % (what, code)
        words = read_text(step["words"]).strip() if step.get("words") and code != 0 else ""
        if words:
            text = words
        if code > 128:
            text = "%s was ended by signal %d" % (what, code - 128)
        ran_out = self._status.fields["out_of_memory"]
        if ran_out is not None:
            whose = "the GPU" if ran_out["of"] == GPU else "the machine"
            text += ": %s ran out of memory (%s)" % (whose, ran_out["words"])
        return "; ".join(filter(None, (self._status.fields["reason"], text)))

    def _what_ran_out(self, code: int) -> Optional[Dict[str, str]]:
        """Memory, when it was that which a program lacked that failed by itself; None: nothing says so."""
        if code in (0, EXIT_INTERRUPTED):
            return None
        if code == 128 + signal.SIGKILL and out_of_memory_kills() > self._oom_kills:
            return {"of": MEMORY, "words": "the system killed it"}
        return out_of_memory(self._tail)

    def _done_mark(self, step: Dict[str, Any]) -> str:
        return os.path.join(self._paths["stage_control"], "%s-%s.done" % (step["name"], step["once"]))

    # Leaving.

    def _ask_to_leave(self, cause: str, reason: str) -> None:
        """SIGTERM now, SIGKILL after the grace period. The first cause counts, and is told before the signal."""
        if self._leaving or self._steps_over:
            return
        grace_s = self._orders["grace_s"]
        self._leaving = True
        self._kill_at = time.monotonic() + grace_s
        self._status.change(cause=cause, reason=reason, phase="leaving")
        self._output.say("%s (%s): SIGTERM, and SIGKILL after %g s" % (reason, cause, grace_s))
        self._children.ask()

    def _kill(self, cause: str, reason: str) -> None:
        """SIGKILL now."""
        if not self._leaving and not self._steps_over:
            self._status.change(cause=cause, reason=reason, phase="leaving")
            self._output.say("%s (%s): SIGKILL" % (reason, cause))
        self._leaving = True
        self._kill_at = time.monotonic()
        self._children.kill()

    def _kill_rest(self) -> None:
        killed = self._children.kill()
        late = "it had not left in time and was killed"
        if killed and late not in self._status.fields["reason"]:
            self._status.fields["reason"] = "; ".join(filter(None, (self._status.fields["reason"], late)))
            self._output.say("killing %s" % name_them(killed))

    def _is_late(self) -> bool:
        return self._kill_at is not None and time.monotonic() >= self._kill_at

    def _reap(self) -> None:
        if self._children.reap() and self._leaving:
            self._children.ask()  # what lost its parent has been adopted, and was not asked yet

    # The end.

    def _end_steps(self, code: int, reason: str) -> None:
        """What the steps left running is waited for after a good end, and asked to leave after any other."""
        self._steps_over = True
        self._children.end_helpers(late_ones_only=False)
        self._status.change(exit_code=code, reason=reason)
        self._output.say(reason)
        living = self._children.living()
        if living:
            self._output.say("waiting for what it left running: %s" % name_them(living))
            if code != 0 or self._leaving:
                self._end_rest()

    def _end_rest(self) -> None:
        self._leaving = True
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._orders["grace_s"]
        self._children.ask()

    def _end_if_over(self) -> None:
        if not self._steps_over or self._over or self._children.any_left:
            return
        while self._copy_output():
            pass
        if not self._final_scan:
            self._final_scan = True
            if self._job_began is not None:
                self._status.fields["run_s"] = round(time.monotonic() - self._job_began, 3)
            self._look_at_arrivals()
            ended_well = self._status.fields["exit_code"] in (0, EXIT_INTERRUPTED)
            self._checkpoints.final_scan(nobody_was_writing=ended_well)
            if (
                self._status.fields["exit_code"] == EXIT_INTERRUPTED
                and self._status.fields["cause"] == "none"
            ):
                self._hasher.submit(self._repetition.look, self._compared)
        if (self._hasher.pending or self._is_mirroring()) and not self._is_late():
            return
        self._patterns.look(last=True)
        while self._metrics.read():
            pass
        self._over = True
        self._update_status()
        self._status.finish(phase="ended", ended_at=utc())

    def _compared(self, repeated: Any) -> None:
        self._status.fields["repeated"] = repeated is True

    def _is_mirroring(self) -> bool:
        """Whoever goes on elsewhere needs the last checkpoint in the bucket; after a good end nobody does."""
        fields = self._status.fields
        if fields["exit_code"] == 0 and fields["cause"] == "none":
            return False
        if not self._checkpoints.is_busy():
            self._mirror.look(self._checkpoints.complete(), last=True)
        return self._mirror.is_busy

    # What comes from outside.

    def _look_at_arrivals(self) -> None:
        renamed = False
        for folder, name in self._arrivals.take():
            if folder == self._paths["checkpoints"]:
                self._checkpoints.renamed(name)
                renamed = True
        if renamed:
            self._checkpoints.scan()
        self._look_for_wishes()

    def _look_for_wishes(self) -> None:
        """What the launcher wants of the job lies here as files: true however often they are written or read."""
        for name, act in (("kill", self._kill), ("save", self._ask_to_leave)):
            wish = read_json(os.path.join(self._paths["control"], name + ".json"))
            if wish is not None and self._status.fields["signal"] not in (name, "kill"):
                self._status.fields["signal"] = name
                act(str(wish.get("cause", "stop")), str(wish.get("reason") or "asked by launch"))

    def _look_for_notice(self) -> None:
        assert self._probe is not None
        if self._leaving or self._steps_over or self._network.pending:
            return
        if self._probe.is_file:
            self._noticed(self._probe.ask())
        else:
            self._network.submit(self._probe.ask, self._noticed)
            if self._probe.can_warn and self._status.fields["warned"] is None:
                self._network.submit(self._probe.ask_warning, self._warned)

    def _noticed(self, text: Any) -> None:
        if isinstance(text, str):
            self._ask_to_leave("notice", "the machine is about to be taken away: %s" % text[:200])

    def _warned(self, text: Any) -> None:
        if isinstance(text, str):
            self._output.say("the machine is likelier than usual to be taken away: %s" % text[:200])
            self._mirror.hurry()
            self._status.change(warned=text[:200])

    def _scan(self) -> None:
        self._arrivals.add(self._paths["checkpoints"])  # the program may have replaced the folder
        before = [self._status.fields[name] for name in ("checkpoints", "mirrored")]
        self._checkpoints.scan()
        self._mirror.look(self._checkpoints.complete())
        self._update_status()
        if [self._status.fields[name] for name in ("checkpoints", "mirrored")] != before:
            self._status.write()

    def _sample(self) -> None:
        if self._steps_over:
            self._host.write_row(None)
        else:
            self._gpu.sample(self._sampled)

    def _sampled(self) -> None:
        self._host.write_row(self._gpu.newest)
        idle_s, idle_stop_s = self._gpu.idle_s(), self._orders["idle_stop_s"]
        if idle_s is not None and idle_stop_s is not None and idle_s >= idle_stop_s:
            self._ask_to_leave("idle", "the GPU has done nothing for %d min" % (idle_s // 60))
