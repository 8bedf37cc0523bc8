"""The official protocol, both ways, over a real redis-server on a private port."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import wait_until
from tests.trainer.lm.conftest import Place
from tests.trainer.lm.graphs import HOUSE, TEXT, build_house, say
from trainer.cli import main
from trainer.interrupt import Interrupt
from trainer.lm import protocol
from trainer.lm.decoders import GraphDecoder
from trainer.lm.errors import BadOption, ServiceLost
from trainer.lm.evaluate import decode_all
from trainer.lm.graph_folder import DecodingGraph
from trainer.lm.journal import Journal
from trainer.lm.logits import Utterance
from trainer.lm.options import DecoderOptions
from trainer.lm.redis_decoder import RedisDecoder
from trainer.lm.redis_link import RedisLink, parse_address
from trainer.lm.redis_process import open_decoder
from trainer.lm.redis_server import PrivateRedis
from trainer.lm.search import Hypothesis
from trainer.lm.serve import LanguageModelService
from trainer.progress import Console

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> DecodingGraph:
    return DecodingGraph.load(build_house(tmp_path_factory.mktemp("house")))


@contextlib.contextmanager
def serving(
    address: tuple[str, int], graph: DecodingGraph, patience_s: float = PATIENCE_S
) -> Iterator[list[str]]:
    """Our language-model process, as a thread; yields what it says."""
    said: list[str] = []
    stop = threading.Event()
    link = RedisLink(address, patience_s=patience_s, say=said.append)
    service = LanguageModelService(link, graph, DecoderOptions(), say=said.append)
    thread = threading.Thread(target=service.run, args=(lambda: not stop.is_set(),))
    thread.start()
    try:
        yield said
    finally:
        stop.set()
        thread.join()
        link.close()


def utterances() -> list[Utterance]:
    rng = np.random.default_rng(3)
    return [
        Utterance(
            id=i, session="s", block_num=1, trial_num=i, sentence=line, labels=np.zeros(0, np.int32),
            logits=say(line.split(), HOUSE, rng, noise=2.5),
        )
        for i, line in enumerate(TEXT.splitlines())
    ]  # fmt: skip


texts = st.text(alphabet="ab ';,-1.", max_size=8).map(str.strip).filter(lambda t: ";" not in t)
scores = st.floats(-1e4, 1e4).map(lambda x: round(x, 6))


@given(
    st.lists(
        st.builds(Hypothesis, texts, scores, scores, scores, scores), unique_by=lambda h: h.text, max_size=5
    )
)
def test_candidates_survive_the_wire(candidates: list[Hypothesis]) -> None:
    expected = sorted(candidates, key=lambda h: (-h.total, h.text))
    assert protocol.decode_scoring(protocol.encode_scoring(candidates)) == expected


def test_semicolons_are_kept_out_of_what_is_sent_and_understood_in_what_is_read() -> None:
    with_sign = Hypothesis("a ;semi-colon here", -1.0, -2.0, 0.0, -3.0)
    plain = Hypothesis("a colon", -1.0, -2.5, 0.0, -3.5)
    assert protocol.encode_scoring([with_sign, plain]) == protocol.encode_scoring([plain])
    sent = "the cat;-4;-5;0;-6;a ;semi-colon here;-1;-2;0.0;-3;a colon;-1;-2.5;0;-3.5"
    assert [h.text for h in protocol.decode_scoring(sent)] == ["a ;semi-colon here", "a colon", "the cat"]
    assert protocol.decode_scoring("") == []
    assert protocol.decode_scoring("a;1;2;3;9; b ;1;2;3;4;b;1;2;3;5")[1] == Hypothesis("b", 1, 2, 3, 5)
    assert parse_address("localhost:6380") == ("localhost", 6380) and parse_address("box") == ("box", 6379)
    with pytest.raises(BadOption):
        parse_address("box:port")


def test_decoding_over_redis_is_decoding(graph: DecodingGraph) -> None:
    direct = GraphDecoder(graph, DecoderOptions(acoustic_scale=0.4, nbest=20))
    with PrivateRedis() as server, contextlib.closing(redis.Redis(port=server.address[1])) as watcher:
        watcher.set("somebody's", "own")
        with serving(server.address, graph):
            options = {"acoustic_scale": 0.4, "nbest": 20}
            decoder = RedisDecoder(server.address, patience_s=PATIENCE_S, say=print, options=options)
            with contextlib.closing(decoder):
                assert decoder.arguments()["acoustic_scale"] == "0.4"
                assert decoder.arguments()["lm_path"] == str(graph.folder)
                for utterance in utterances():
                    found, expected = decoder.decode(utterance.logits), direct.decode(utterance.logits)
                    assert [h.text for h in found] == [h.text for h in expected]
                    for a, b in zip(found, expected, strict=True):
                        assert (a.acoustic, a.ngram, a.total) == pytest.approx(
                            (b.acoustic, b.ngram, b.total), abs=1e-3
                        )
                assert decoder.decode(np.zeros((0, 41), np.float32)) == []
        assert watcher.get("somebody's") == b"own"
        assert watcher.xlen(protocol.INPUT) == 0  # logits are not left lying about
        commands = watcher.info("commandstats")
        assert not {name for name in commands if "flush" in name}


def official_client(address: tuple[str, int], chunks: list[np.ndarray]) -> tuple[list[str], list[list[str]]]:
    """What the official evaluation script does, call for call: (partials, candidates)."""
    with contextlib.closing(redis.Redis(port=address[1])) as r:
        r.flushall()  # it does
        seconds, micros = r.time()
        last = dict.fromkeys(protocol.STREAMS, f"{seconds * 1000 + micros // 1000}-0")

        def wait_for(stream: str) -> dict[bytes, bytes]:
            found: list = []
            wait_until(lambda: bool(found) or bool(found.extend(r.xread({stream: last[stream]}, count=1, block=1000)) or found), stream)  # fmt: skip
            number, fields = found[0][1][0]
            last[stream] = number.decode()
            return fields

        wait_until(lambda: bool(r.xlen("remote_lm_args")), "options")
        r.xadd(
            "remote_lm_update_params",
            {"acoustic_scale": 0.35, "blank_penalty": 90.0, "alpha": 0.55, "nbest": 4},
        )
        wait_for("remote_lm_done_updating_params")
        r.xadd("remote_lm_reset", {"done": 0})
        wait_for("remote_lm_done_resetting")
        partials = []
        for chunk in chunks:
            r.xadd("remote_lm_input", {"logits": np.float32(chunk).tobytes()})
            partials.append(wait_for("remote_lm_output_partial")[b"lm_response_partial"].decode())
        r.xadd("remote_lm_finalize", {"done": 0})
        final = wait_for("remote_lm_output_final")
        parts = final[b"scoring"].decode().split(";")
        assert final[b"context_str"] == b""
        told = r.xrevrange("remote_lm_args", count=1)[0][1]
        assert told[b"nbest"] == b"4" and told[b"acoustic_scale"] == b"0.35"
        return partials, [parts[i : i + 5] for i in range(0, len(parts), 5)]


def test_the_official_script_is_served(graph: DecodingGraph) -> None:
    logits = say(["the", "cat", "sat", "there"], HOUSE, np.random.default_rng(4))
    rows = logits[:, [0, 40, *range(1, 40)]]
    with PrivateRedis() as server, serving(server.address, graph) as said:
        halves = np.array_split(rows, 2)
        partials, candidates = official_client(server.address, [*halves, np.zeros(7, np.float32)])
        assert len(partials) == 3 and partials[0] in partials[1] and partials[2] == partials[1]
        assert partials[1].split() == ["the", "cat", "sat", "there"]
        assert candidates[0][0] == "the cat sat there" and 1 <= len(candidates) <= 4
        assert all(
            float(c[4]) == pytest.approx(0.35 * float(c[1]) + float(c[2]), abs=1e-4) for c in candidates
        )
        assert any("a chunk was left out" in line for line in said)
        assert any("alpha=0.55 has no effect" in line for line in said)
        _, nothing = official_client(server.address, [])  # a sentence without a frame: no candidates, no hang
        assert nothing == [[""]]


def test_a_redis_that_dies_in_the_middle_is_waited_for(graph: DecodingGraph, tmp_path: Path) -> None:
    said: list[str] = []
    todo = utterances()
    expected = {u.id: GraphDecoder(graph, DecoderOptions()).decode(u.logits)[0].text for u in todo}
    with contextlib.ExitStack() as servers, contextlib.ExitStack() as stack:
        server = servers.enter_context(PrivateRedis())
        stack.enter_context(serving(server.address, graph))
        decoder = stack.enter_context(
            contextlib.closing(RedisDecoder(server.address, patience_s=PATIENCE_S, say=said.append))
        )

        class Murderous:
            """Kills Redis while the third sentence is decoded, and starts another on its port a moment later."""

            max_jobs = 1
            calls = 0

            def decode(self, logits: np.ndarray) -> list[Hypothesis]:
                self.calls += 1
                if self.calls == 3:
                    os.kill(server.pid, signal.SIGKILL)
                    successor = PrivateRedis(server.address[1])
                    timer = threading.Timer(0.5, lambda: servers.enter_context(successor))
                    timer.start()
                    try:
                        return decoder.decode(logits)
                    finally:
                        timer.join()
                return decoder.decode(logits)

            def close(self) -> None: ...

        with Interrupt() as interrupt, Journal(tmp_path, {}) as journal:
            decode_all(todo, Murderous(), None, journal, interrupt, Console(quiet=True))
            assert {i: found[0].text for i, found in journal.finished.items()} == expected
    assert any("does not answer; waiting up to 60 s" in line for line in said)
    assert any("answers again" in line for line in said)


def test_a_redis_that_stays_away_ends_it_within_the_deadline_and_keeps_what_is_done(
    graph: DecodingGraph, tmp_path: Path
) -> None:
    server = PrivateRedis()
    todo = utterances()
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        served = stack.enter_context(contextlib.ExitStack())
        served.enter_context(serving(server.address, graph))
        decoder = stack.enter_context(
            contextlib.closing(RedisDecoder(server.address, patience_s=1.0, say=lambda text: None))
        )

        class Murderous:
            max_jobs = 1
            calls = 0

            def decode(self, logits: np.ndarray) -> list[Hypothesis]:
                self.calls += 1
                if self.calls == 3:
                    served.close()
                    os.kill(server.pid, signal.SIGKILL)
                return decoder.decode(logits)

            def close(self) -> None: ...

        with Interrupt() as interrupt, Journal(tmp_path, {}) as journal:
            with pytest.raises(ServiceLost, match="does not answer, after 1 s") as caught:
                decode_all(todo, Murderous(), None, journal, interrupt, Console(quiet=True))
            assert len(journal.finished) == 2
        assert "2 finished sentences" in str(caught.value.left_behind)
    with Journal(tmp_path, {}) as again:
        assert len(again.finished) == 2


def test_a_language_model_that_is_not_there_or_falls_silent_is_said(graph: DecodingGraph) -> None:
    with PrivateRedis() as server:
        with pytest.raises(ServiceLost, match="no language model has shown up"):
            RedisDecoder(server.address, patience_s=0.3, say=print)
        with serving(server.address, graph):
            decoder = RedisDecoder(server.address, patience_s=PATIENCE_S, say=print)
        decoder._patience_s = 0.3
        with (
            contextlib.closing(decoder),
            pytest.raises(ServiceLost, match="no answer on remote_lm_done_resetting"),
        ):
            decoder.decode(np.zeros((3, 41), np.float32))
    with pytest.raises(ServiceLost, match="does not answer, after 0"):
        RedisDecoder(server.address, patience_s=0.0, say=print)


def test_evaluate_uses_a_language_model_that_runs_already(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served, other = DecodingGraph.load(place.graph), DecodingGraph.load(build_house(tmp_path / "house"))
    arguments = [
        "evaluate",
        "--run-dir",
        str(place.run),
        "--data-dir",
        str(place.data),
        "--words-dir",
        str(tmp_path / "w"),
    ]
    with PrivateRedis() as server:
        arguments += ["--redis", f"127.0.0.1:{server.address[1]}", "--acoustic-scale", "0.4", "--nbest", "3"]
        with serving(server.address, served) as said:
            assert main(arguments) == 0
            assert len([line for line in said if "candidates:" in line]) == 4
            first = (tmp_path / "w" / "sentences.csv").read_text()
            assert main(arguments) == 0
            assert len([line for line in said if "candidates:" in line]) == 4  # all were finished before
            assert (tmp_path / "w" / "sentences.csv").read_text() == first
        with contextlib.closing(redis.Redis(port=server.address[1])) as client:
            client.delete(protocol.ARGUMENTS)
        with serving(server.address, other) as said:
            assert main(arguments) == 0  # another model at the same address: nothing is taken over
            assert len([line for line in said if "candidates:" in line]) == 4
    assert "finished before: going on with 0" in capsys.readouterr().out


def test_a_language_model_of_ours_that_fails_is_not_waited_for() -> None:
    with pytest.raises(ServiceLost, match="has ended with 3"):
        open_decoder("private", "sh -c 'exit 3'", patience_s=3600, say=print, options={})


def test_evaluate_starts_and_ends_its_own_redis_and_language_model(
    place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []
    start: Callable[[PrivateRedis], PrivateRedis] = PrivateRedis.__enter__

    def noted(server: PrivateRedis) -> PrivateRedis:
        started = start(server)
        pids.append(server.pid)
        return started

    monkeypatch.setattr(PrivateRedis, "__enter__", noted)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    serve = f"{sys.executable} -m trainer lm serve --graph {place.graph} --redis {{host}}:{{port}}"
    common = ["evaluate", "--run-dir", str(place.run), "--data-dir", str(place.data), "--nbest", "3"]
    private = ["--redis", "private", "--words-dir", str(tmp_path / "redis")]
    assert main([*common, *private]) == 2
    assert "nobody would answer" in capfd.readouterr().err
    assert main([*common, *private, "--lm-command", serve]) == 0
    assert main([*common, "--graph", str(place.graph), "--words-dir", str(tmp_path / "graph")]) == 0
    one, other = ((tmp_path / name / "summary.json").read_text() for name in ("redis", "graph"))
    assert one == other
    (pid,) = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
