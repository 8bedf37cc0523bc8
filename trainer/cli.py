"""The ``trainer`` command: parse, call, and turn errors into one line and an exit code.

Exit codes are those of `trainer.contract.Exit`: 0 done, 1 failed, 2 bad configuration or data (never
worth a retry), 75 saved and left on request.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.contract import Exit

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = _parser(arguments[0] if arguments else None)
    try:
        args = parser.parse_args(arguments)
        args.arguments = arguments[1:]
    except SystemExit as stop:  # argparse leaves with 0 for --help and 2 for bad usage
        return int(stop.code or 0)
    from trainer.errors import TrainerError

    try:
        return int(args.handler(args))
    except TrainerError as error:
        _complain(error, debug=getattr(args, "debug", False))
        return int(error.exit_code)
    except OSError as error:
        _complain(error, debug=getattr(args, "debug", False))
        return int(Exit.FAILED)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before anything could be saved\n")
        return int(Exit.FAILED)


def _complain(error: Exception, debug: bool) -> None:
    """What happened, what was left behind, what to do: one line each."""
    if debug:
        import traceback

        traceback.print_exception(error)
    lines = [f"error: {error}"]
    for name, label in (("left_behind", "left behind"), ("hint", "hint")):
        text = getattr(error, name, None)
        if text:
            lines.append(f"{label}: {text}")
    sys.stderr.write("\n".join(lines) + "\n")


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The parser; modules that bring options of their own are imported only for their command."""
    parser = argparse.ArgumentParser(
        prog="trainer",
        description="Train and evaluate the Brain-to-Text '25 phoneme decoder.",
        epilog="Exit codes: 0 done, 1 failed, 2 bad configuration or data, 75 saved on request (resume me).",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    train = "train a decoder, or go on with a run that was interrupted"
    _add_train(commands.add_parser("train", help=train, allow_abbrev=False))
    evaluate = commands.add_parser("evaluate", help="error rates of a trained decoder, in phonemes and words")
    _add_evaluate(evaluate)
    if command == "evaluate":
        from trainer.lm import evaluate_cli

        evaluate_cli.add_arguments(evaluate)
    _add_bench(commands.add_parser("bench", help="steps per second of a configuration on this machine"))
    _add_convert(commands.add_parser("convert", help="turn a checkpoint of any kind into the official form"))
    synthesize = commands.add_parser("synthesize", help="write a synthetic data set in the official layout")
    if command == "synthesize":
        from trainer.synthetic import cli as synthetic

        synthetic.add_arguments(synthesize)
        synthesize.set_defaults(handler=synthetic.run)
    lm = commands.add_parser("lm", help="language models and decoding graphs: build, info, tune, serve")
    if command == "lm":
        from trainer.lm import cli as language_model

        language_model.add_arguments(lm)
    submission = commands.add_parser("submission", help="check a submission file before it is handed in")
    if command == "submission":
        from trainer import submission_cli

        submission_cli.add_arguments(submission)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="session folders (default: LAUNCH_DATA_DIR, then the configuration)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="auto, cpu, cuda or cuda:N; a GPU named and not there is an error"
    )
    parser.add_argument(
        "--limit-batches",
        type=int,
        metavar="N",
        help="stop after N training batches and N validation batches: a quick check of everything",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="YAML in the official names; rnn_args.yaml works unchanged",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="where everything is written (default: LAUNCH_OUTPUT_DIR, then output_dir)",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of weights, augmentation, dropout and sampling"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        dest="overrides",
        help="override a field, such as model.n_units=64; may be repeated",
    )
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|PATH",
        help="auto: LAUNCH_RESUME_FROM, else the newest good checkpoint of the run folder (default)",
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="PREFIX",
        help="with init_from_checkpoint: refuse to train unless all parameters under this prefix were taken",
    )
    parser.add_argument(
        "--nproc-per-node",
        metavar="K",
        help="train with K processes on this machine, one per GPU; auto takes all GPUs. "
        "Several machines: torchrun --no-python trainer train ...",
    )
    _add_common(parser)
    parser.set_defaults(handler=_train)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="run folder with checkpoint/best_checkpoint and args.yaml",
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="another checkpoint in the official form"
    )
    parser.add_argument("--split", choices=("train", "val", "test"), default="val")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="CSV with one line per trial (default: RUN_DIR/evaluation_SPLIT.csv)",
    )
    parser.add_argument("--confusions", type=int, default=10, metavar="N", help="how many confusions to list")
    _add_common(parser)
    parser.set_defaults(handler=_evaluate)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measures training steps alone, without validations and checkpoints. Nothing is left behind."
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="as for train (default: the full model)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides", help="as for train"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="real trials (default: random ones, made for the purpose)",
    )
    parser.add_argument(
        "--bins",
        type=int,
        default=800,
        metavar="N",
        help="median length of random trials in bins, unless --data-dir (800)",
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="steps that are measured (20)")
    parser.add_argument(
        "--warm-up", type=int, default=5, metavar="N", help="steps before the clock starts (5)"
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--workload",
        default="full",
        metavar="NAME",
        help="what the numbers are called in a table of paces (full)",
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on stdout; the rest goes to stderr"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(handler=_bench, seed=None)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="step_*.pt of a run, or a checkpoint in the official form")
    parser.add_argument(
        "target",
        type=Path,
        help="file, or folder that becomes checkpoint/best_checkpoint and checkpoint/args.yaml",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.set_defaults(handler=_convert)


def _bench(args: argparse.Namespace) -> int:
    import json

    from trainer.bench import bench, lines
    from trainer.loading import LeftEarly
    from trainer.progress import Console

    console = Console(stream=sys.stderr if args.json else None)
    try:
        report = bench(
            config_path=args.config, overrides=_overrides(args), data_dir=args.data_dir, workload=args.workload,
            steps=args.steps, warm_up=args.warm_up, median_bins=args.bins, console=console,
        )  # fmt: skip
    except LeftEarly:
        console.say("interrupted: nothing was measured")
        return int(Exit.FAILED)
    if args.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        for line in lines(report):
            console.say(line)
    return int(Exit.DONE)


def _convert(args: argparse.Namespace) -> int:
    from trainer.convert import convert
    from trainer.progress import Console

    return convert(args.source, args.target, console=Console())


def _train(args: argparse.Namespace) -> int:
    from trainer.interrupt import leaving_at_once

    with leaving_at_once():
        from trainer.workers import end_with_parent

        if args.nproc_per_node is not None:
            return _train_in_workers(args)
        end_with_parent()
        from trainer.commands import train

        return train(
            config_path=args.config, overrides=_overrides(args), run_dir=args.run_dir, data_dir=args.data_dir,
            resume=args.resume, require=args.require, limit_batches=args.limit_batches,
        )  # fmt: skip


def _train_in_workers(args: argparse.Namespace) -> int:
    """Start the same command once per process, without the option that asks for several."""
    from trainer.config_reader import load_config
    from trainer.errors import ConfigError
    from trainer.workers import run_workers

    wanted = args.nproc_per_node
    if wanted == "auto":
        import torch

        count = max(1, torch.cuda.device_count())
    elif wanted.isdecimal() and int(wanted) > 0:
        count = int(wanted)
    else:
        raise ConfigError(f"--nproc-per-node: expected a number of processes or auto, found {wanted}")
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("--nproc-per-node within torchrun: it has started the processes already")
    load_config(args.config, _overrides(args))  # a mistake is said once, and not by every worker
    return run_workers(["train", *_without_option(args.arguments, "--nproc-per-node")], count)


def _without_option(arguments: Sequence[str], name: str) -> list[str]:
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != name and not argument.startswith(f"{name}="):
            kept.append(argument)
        skip = not skip and argument == name
    return kept


def _overrides(args: argparse.Namespace) -> list[str]:
    overrides = list(args.overrides)
    if args.device is not None:
        overrides.append(f"compute.device={args.device}")
    if args.seed is not None:
        overrides += [f"seed={args.seed}", f"dataset.seed={args.seed}"]
    return overrides


def _evaluate(args: argparse.Namespace) -> int:
    from trainer.commands import evaluate
    from trainer.lm import evaluate_cli

    if evaluate_cli.wants_words(args):
        return evaluate_cli.evaluate(args)
    return evaluate(
        run_dir=args.run_dir, checkpoint=args.checkpoint, data_dir=args.data_dir, split=args.split,
        output=args.output, device=args.device, num_confusions=args.confusions, limit_batches=args.limit_batches,
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
