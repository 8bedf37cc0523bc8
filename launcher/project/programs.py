"""What a program says of itself: its options, what it reads and writes, whether it listens to SIGTERM.

Read from the syntax tree; nothing is imported or executed. Pure: text in, facts out.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Option", "Program", "read_notebook", "read_program"]

ML_PACKAGES = frozenset(
    ("torch", "tensorflow", "keras", "jax", "flax", "lightning", "pytorch_lightning", "transformers", "mxnet")
)
_OPTION_CALLS = ("add_argument", "option", "Option")
_READERS = frozenset(
    [
        "File",
        "load",
        "loadtxt",
        "genfromtxt",
        "memmap",
        "read_csv",
        "read_parquet",
        "read_pickle",
        "read_hdf",
        "read_json",
        "load_from_disk",
        "ImageFolder",
        "open",
    ]
)
_WRITERS = frozenset(
    [
        "save",
        "savez",
        "savez_compressed",
        "savefig",
        "to_csv",
        "to_parquet",
        "to_pickle",
        "to_json",
        "to_hdf",
        "save_pretrained",
        "save_model",
        "save_weights",
        "open",
        "write_text",
        "write_bytes",
        "SummaryWriter",
        "dump",
        "ModelCheckpoint",
        "BackupAndRestore",
    ]
)
_WRITES_ITSELF = ("write_text", "write_bytes")
"""Methods of a path: what they are given is what is written."""
_SAVES_INTO = {
    "TrainingArguments": "output_dir",
    "Seq2SeqTrainingArguments": "output_dir",
    "ModelCheckpoint": "dirpath",
    "BackupAndRestore": "backup_dir",
}
"""What keeps checkpoints by itself (of transformers, lightning, keras), and the argument that says where."""
_ONE_PARSER = threading.Lock()
_WORK = ("train", "fit", "run", "main")
"""What a script calls for its work, also where it keeps the result: ``metrics = trainer.train()``."""
_METRIC = re.compile(
    r"(val|valid|validation|eval|test|dev)[_/ -]?"
    r"(loss|acc|accuracy|per|wer|cer|bleu|f1|auc|auroc|nrmse|rmse|mse|mae|ppl|perplexity|top1|top5|iou|map|r2)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a command line."""

    flag: str
    """Its long form where it has one: ``--resume``; a positional argument has no dashes."""
    default: str | int | float | bool | None = None
    is_switch: bool = False
    """It takes no value."""
    required: bool = False

    @property
    def word(self) -> str:
        """The name alone, in one spelling: ``resume_from``."""
        return self.flag.lstrip("-").replace("-", "_").lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A script or a notebook, by what its text shows."""

    path: str
    """Relative to the project."""
    is_notebook: bool = False
    runs_alone: bool = False
    """It has a main part: ``if __name__ == "__main__"``, or statements that do work."""
    options: tuple[Option, ...] = ()
    imports: frozenset[str] = frozenset()
    """Top-level names of packages, those of the standard library left out."""
    reads: tuple[str, ...] = ()
    """Paths that stand in the text and are read."""
    writes: tuple[str, ...] = ()
    """The same for what is written, as shell patterns: f-strings become ``ckpt_*.pt``."""
    saves_into: tuple[str, ...] = ()
    """Folders that its library is told to keep checkpoints in, where they stand in the text."""
    has_trainer: bool = False
    """The Trainer of transformers saves for it: ``checkpoint-<step>`` in its output folder."""
    metrics: tuple[str, ...] = ()
    """Names of validation metrics, as they are spelt."""
    is_part_of_package: bool = False
    """It imports what lies beside it by a dot, which works only where it is started as a module."""
    handles_sigterm: bool = False
    reports_metrics: bool = False
    """It knows LAUNCH_METRICS_FILE."""
    knows_resume_variable: bool = False
    """It knows LAUNCH_RESUME_FROM."""
    knows_checkpoint_variable: bool = False
    """It knows LAUNCH_CHECKPOINT_DIR."""

    @property
    def trains(self) -> bool:
        """It imports something that GPUs are rented for."""
        return bool(self.imports & ML_PACKAGES)


def read_program(path: str, text: str) -> Program | None:
    """Read a Python file; None when it is not Python 3 that this interpreter can parse."""
    tree = _parse(text)
    return None if tree is None else _facts(path, text, tree)


def read_notebook(path: str, text: str) -> Program | None:
    """Read a notebook as the program that its cells are; None when it is no notebook or no Python."""
    try:
        document = json.loads(text)
        cells = document["cells"]
        sources = [_source(cell) for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    code = "\n".join(_without_magics(source) for source in sources)
    tree = _parse(code)
    return None if tree is None else _facts(path, code, tree, is_notebook=True)


def _parse(code: str) -> ast.Module | None:
    # CPython 3.11 counts the depth of a tree per interpreter: two threads that parse at once may stop one another.
    with _ONE_PARSER:
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _source(cell: dict[str, object]) -> str:
    source = cell["source"]
    return "".join(str(line) for line in source) if isinstance(source, list) else str(source)


def _without_magics(source: str) -> str:
    """Lines that only IPython understands become comments."""
    if source.lstrip().startswith("%%"):
        return ""
    return "\n".join(
        re.sub(r"^(\s*)[%!].*$", r"\1pass", line) if re.match(r"\s*[%!]", line) else line
        for line in source.splitlines()
    )


def _facts(path: str, text: str, tree: ast.Module, *, is_notebook: bool = False) -> Program:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return Program(
        path=path,
        is_notebook=is_notebook,
        runs_alone=is_notebook or _has_main(tree),
        options=tuple(_unique(_options(calls))),
        imports=_imports(tree),
        reads=tuple(dict.fromkeys(_paths(calls, _READERS, writing=False))),
        writes=tuple(dict.fromkeys(_paths(calls, _WRITERS, writing=True))),
        saves_into=tuple(dict.fromkeys(_saves_into(calls))),
        has_trainer="transformers" in _imports(tree) and "TrainingArguments" in text,
        metrics=tuple(dict.fromkeys(_metrics(tree))),
        is_part_of_package=any(
            isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(tree)
        ),
        handles_sigterm="SIGTERM" in text and not re.search(r"SIGTERM\s*,\s*(signal\.)?SIG_IGN", text),
        reports_metrics="LAUNCH_METRICS_FILE" in text,
        knows_resume_variable="LAUNCH_RESUME_FROM" in text,
        knows_checkpoint_variable="LAUNCH_CHECKPOINT_DIR" in text,
    )


def _has_main(tree: ast.Module) -> bool:
    if any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body):
        return True
    # A script without a main part: loops, or calls whose result nobody keeps.
    return any(
        isinstance(node, (ast.For, ast.While, ast.With))
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
        or (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and _name_of(node.value) in _WORK
        )
        for node in tree.body
    )


def _imports(tree: ast.Module) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return frozenset(found - set(sys.stdlib_module_names))


def _options(calls: Iterable[ast.Call]) -> Iterator[Option]:
    for call in calls:
        name = _name_of(call)
        flags = [_text(argument) for argument in call.args]
        if name not in _OPTION_CALLS or not flags or any(flag is None for flag in flags[:1]):
            continue
        named = {word.arg: word.value for word in call.keywords if word.arg}
        long = next((flag for flag in flags if flag and flag.startswith("--")), None)
        flag = long or next((flag for flag in flags if flag), None)
        if flag is None or (name != "add_argument" and not flag.startswith("-")):
            continue
        action = _text(named.get("action"))
        yield Option(
            flag=flag,
            default=_constant(named.get("default")),
            is_switch=action in ("store_true", "store_false") or _constant(named.get("is_flag")) is True,
            required=_constant(named.get("required")) is True
            or (
                not flag.startswith("-")
                and "default" not in named
                and _text(named.get("nargs")) not in ("?", "*")
            ),
        )


def _unique(options: Iterable[Option]) -> list[Option]:
    return list({option.flag: option for option in options}.values())


def _paths(calls: Iterable[ast.Call], names: frozenset[str], *, writing: bool) -> Iterator[str]:
    for call in calls:
        if _name_of(call) not in names:
            continue
        if _name_of(call) == "open" and _opens_for_writing(call) is not writing:
            continue
        if _name_of(call) == "File" and writing:
            continue
        given = (*call.args, *(word.value for word in call.keywords))
        if _name_of(call) in _WRITES_ITSELF and isinstance(call.func, ast.Attribute):
            given = (call.func.value,)
        for argument in given:
            pattern = _pattern(argument)
            if pattern is not None and _looks_like_a_path(pattern):
                yield pattern


def _opens_for_writing(call: ast.Call) -> bool:
    mode = _text(call.args[1]) if len(call.args) > 1 else None
    mode = mode or next((_text(word.value) for word in call.keywords if word.arg == "mode"), None)
    return bool(mode and set(mode) & set("wax+"))


def _pattern(node: ast.expr | None) -> str | None:
    """A text or a path put together from some, with ``*`` for what is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{[^{}]*\}", "*", node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _joined(node.left, node.right)
    if isinstance(node, ast.Call) and _name_of(node) in ("join", "Path", "str", "joinpath"):
        base = (
            node.func.value if _name_of(node) == "joinpath" and isinstance(node.func, ast.Attribute) else None
        )
        return _joined(*([base] if base is not None else []), *node.args)
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "*" for part in node.values]
        return re.sub(r"\*+", "*", "".join(str(part) for part in parts))
    return None


def _joined(*parts: ast.expr) -> str | None:
    """Parts of a path, ``*`` for each that is not known; None where none of them is."""
    found = [_pattern(part) for part in parts]
    if not any(found):
        return None
    return re.sub(r"\*+", "*", "/".join("*" if part is None else part.rstrip("/") for part in found))


def _saves_into(calls: Iterable[ast.Call]) -> Iterator[str]:
    for call in calls:
        word = _SAVES_INTO.get(_name_of(call))
        named = next((one.value for one in call.keywords if one.arg == word), None)
        first = call.args[0] if call.args and word in ("output_dir", "backup_dir") else None
        folder = _pattern(named or first) if word is not None else None
        if folder and "*" not in folder and re.fullmatch(r"[\w./~-]+", folder):
            yield folder


def _looks_like_a_path(text: str) -> bool:
    if not text or len(text) > 200 or "\n" in text or "://" in text:
        return False
    return bool(re.fullmatch(r"[^\s<>|:\"']*\.[A-Za-z0-9_]{1,8}", text)) or (
        "/" in text and re.fullmatch(r"[\w./*~-]+", text) is not None
    )


def _metrics(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and _METRIC.fullmatch(node.value.lower())
        ):
            yield node.value


def _name_of(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _text(node: ast.expr | None) -> str | None:
    value = _constant(node)
    return value if isinstance(value, str) else None


def _constant(node: ast.expr | None) -> str | int | float | bool | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _constant(node.operand)
        return -value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool):
        return node.value
    return None
