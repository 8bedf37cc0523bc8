"""From a folder to a job file that reads back as it was meant."""

from __future__ import annotations

import itertools
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher import Job
from launcher.errors import UsageError
from launcher.project import (
    Answers,
    Proposal,
    job_file,
    propose,
    questions,
    refuse_existing,
    survey,
    write_job_file,
)
from launcher.project.goal import Goal
from launcher.project.survey import LARGE_BYTES

MAIN = 'if __name__ == "__main__":\n    main()\n'
PROVIDERS = ("aws", "fake", "local", "ssh")


def project(root: Path, files: dict[str, str | int]) -> Path:
    """A folder with these files: their text, or how large they are."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content)
        else:
            with path.open("wb") as file:
                file.truncate(content)
    return root


def proposed(root: Path, **answers: object) -> Proposal:
    proposal = propose(survey(root), Answers(**answers))  # type: ignore[arg-type]
    read_back(proposal, root)
    return proposal


def read_back(proposal: Proposal, root: Path) -> Job:
    """The text means what was proposed."""
    file = root / "launch.yaml"
    file.write_text(job_file(proposal))
    job = Job.from_yaml(file)
    file.unlink()
    assert job == Job.from_dict(proposal.fields, base_dir=root)
    return job


def parser(*options: str) -> str:
    """A program with these options."""
    lines = "".join(f"parser.add_argument({option})\n" for option in options)
    return f"import argparse, torch\nparser = argparse.ArgumentParser()\n{lines}{MAIN}"


def test_the_programs_own_options_get_the_folders_of_the_run(tmp_path: Path) -> None:
    text = parser(
        '"--data-dir"', '"--ckpt-dir"', '"--output-dir"', '"--resume"', '"--max-steps", default=900'
    )
    root = project(
        tmp_path / "my model", {"train.py": text, "corpus/all.h5": 1000, "requirements.txt": "torch"}
    )
    fields = proposed(root).fields
    assert fields == {
        "name": "my-model",
        "resources": {"accelerators": "T4:1"},
        "file_mounts": {"corpus": "corpus"},
        "environment": {"requirements": "requirements.txt"},
        "run": 'python train.py --data-dir corpus --ckpt-dir "$LAUNCH_CHECKPOINT_DIR"'
        ' --output-dir "$LAUNCH_OUTPUT_DIR" ${LAUNCH_RESUME_FROM:+--resume "$LAUNCH_RESUME_FROM"}',
        "checkpoint": {"dir": "checkpoints"},
        "file_outputs": {"outputs/": "results/", "checkpoints/": "results/"},
        "work": {"steps": 900},
        "max_cost": 5.0,
    }


def test_what_a_trainer_of_transformers_keeps_is_looked_for_where_it_keeps_it(tmp_path: Path) -> None:
    text = parser('"--output_dir"', '"--resume_from_checkpoint"').replace("torch", "transformers")
    root = project(tmp_path, {"train.py": text + "transformers.TrainingArguments(args.output_dir)\n"})
    fields = proposed(root).fields
    assert fields["run"] == (
        'python train.py --output_dir "$LAUNCH_CHECKPOINT_DIR"'
        ' ${LAUNCH_RESUME_FROM:+--resume_from_checkpoint "$LAUNCH_RESUME_FROM"}'
    )
    assert fields["file_outputs"] == {"checkpoints/": "results/"}
    (root / "train.py").write_text(f"import transformers\ntransformers.TrainingArguments('out')\n{MAIN}")
    fields = proposed(root).fields
    assert (fields["checkpoint"], fields["file_outputs"]) == ({"dir": "out"}, {"out/": "results/"})


def test_a_default_that_is_right_is_left_alone(tmp_path: Path) -> None:
    text = parser('"--data", default="data/x.h5"', '"--resume", action="store_true"')
    root = project(tmp_path, {"train.py": text, "data/x.h5": 1000})
    assert proposed(root).fields["run"] == "python train.py ${LAUNCH_RESUME_FROM:+--resume}"


def test_a_program_that_reads_beside_itself_is_started_there(tmp_path: Path) -> None:
    text = f"import torch\ndata = torch.load('cfg/a.json')\ntorch.save(data, 'weights/last.pt')\n{MAIN}"
    root = project(tmp_path, {"code/train.py": text, "code/cfg/a.json": "{}"})
    fields = proposed(root).fields
    assert fields["run"] == "cd code && python train.py"
    assert fields["checkpoint"] == {"dir": "code/weights"}
    assert fields["file_outputs"] == {"code/weights/": "results/"}


@pytest.mark.parametrize(
    ("path", "imports", "run", "python_path"),
    [
        ("src/own/train.py", "from . import data", "python -m own.train", "src"),
        ("own/train.py", "from .data import x", "python -m own.train", None),
        ("scripts/train.py", "import own.data", "python scripts/train.py", "src"),
        ("src/train.py", "import own", "python src/train.py", None),
        ("scripts/train.py", "import helpers", "python scripts/train.py", "."),
        ("train.py", "import helpers", "python train.py", None),
    ],
)
def test_a_projects_own_packages_are_found(
    tmp_path: Path, path: str, imports: str, run: str, python_path: str | None
) -> None:
    files: dict[str, str | int] = {"src/own/data.py": "", "helpers.py": "", path: f"{imports}\n{MAIN}"}
    fields = proposed(project(tmp_path, files)).fields
    assert fields["run"] == run
    assert fields.get("envs") == ({"PYTHONPATH": python_path} if python_path else None)


def test_what_is_required_and_unknown_is_said_first(tmp_path: Path) -> None:
    proposal = proposed(project(tmp_path, {"main.py": parser('"config"', '"--lr", required=True')}))
    assert proposal.fields["run"] == "python main.py FILL_IN --lr FILL_IN"
    assert job_file(proposal).index("BEFORE IT CAN RUN") < job_file(proposal).index("name:")


def test_the_likeliest_program_comes_first_and_a_person_may_choose(tmp_path: Path) -> None:
    files = {
        "a_plot.py": MAIN,
        "train_lm.py": "import torch\n" + MAIN,
        "tests/test_train.py": MAIN,
        "util.py": "A = 1",
    }
    root = project(tmp_path, files)
    asked = {question.about: question for question in questions(survey(root), PROVIDERS)}
    assert asked["program"].choices == ("train_lm.py", "a_plot.py")
    assert asked["cloud"].choices == ("any", "aws")
    assert proposed(root).fields["run"] == "python train_lm.py"
    assert proposed(root, program="a_plot.py", gpu="", cloud="aws").fields["resources"] == {"cloud": "aws"}


def test_large_files_are_data_whatever_their_folder_is_called(tmp_path: Path) -> None:
    files = {"train.py": MAIN, "sub/big.npz": LARGE_BYTES, "runs/old.npz": LARGE_BYTES, "small.csv": 10}
    root = project(tmp_path, files)
    assert proposed(root).fields["file_mounts"] == {"sub": "sub"}


def test_the_official_checkout_is_offered_our_trainer_and_its_own(tmp_path: Path) -> None:
    files = {
        "model_training/rnn_args.yaml": "a: 1",
        "model_training/train_model.py": "import torch\nmetrics = trainer.train()\n",
        "data/README.md": "where to get it",
    }
    root = project(tmp_path, files)
    asked = {question.about: question for question in questions(survey(root), PROVIDERS)}
    assert asked["program"].choices == ("trainer", "model_training/train_model.py")
    assert asked["max_cost"].default == "15"
    ours = proposed(root)
    assert "trainer train --config model_training/rnn_args.yaml" in ours.fields["run"]
    assert "cd model_training && python train_model.py" in job_file(ours)
    assert "\n  on: RTX 4090\n" in job_file(ours)
    assert ours.fields["requires"] == ["data/hdf5_data_final"]
    assert ours.truths[0].startswith("data/hdf5_data_final is not here yet")
    assert proposed(root, program="model_training/train_model.py").fields["run"].endswith("train_model.py")
    (root / "data/hdf5_data_final").mkdir()
    inside = proposed(root / "model_training")
    assert "trainer train --config rnn_args.yaml" in inside.fields["run"]
    assert (inside.fields["file_mounts"], inside.truths) == ({"data": "../data"}, ())
    assert "program" not in {
        question.about for question in questions(survey(root / "model_training"), PROVIDERS)
    }


def test_a_shell_script_is_better_than_nothing_and_nothing_is_said_to_be_missing(tmp_path: Path) -> None:
    assert proposed(project(tmp_path / "a", {"go.sh": "echo"})).fields["run"] == "bash go.sh"
    assert proposed(project(tmp_path / "b", {"readme.md": "x"})).to_fill_in


def test_what_a_program_lacks_is_told(tmp_path: Path) -> None:
    root = project(
        tmp_path, {"train.py": "import torch, numpy\nimport own\n" + MAIN, "own.py": "", "old.py": "print 1"}
    )
    told = "\n".join(proposed(root).truths)
    for words in (
        "go on from a checkpoint",
        "SIGTERM",
        "LAUNCH_METRICS_FILE",
        "needs numpy, torch.",
        "old.py",
    ):
        assert words in told


def test_a_notebook_is_told_what_holds_for_notebooks(tmp_path: Path) -> None:
    cells = '{"cells": [{"cell_type": "code", "source": "import torch"}]}'
    root = project(tmp_path, {"my train.ipynb": cells, "broken.ipynb": '{"cells": ['})
    proposal = proposed(root)
    told = "\n".join(proposal.truths)
    assert "begins at its first cell after an interruption" in told
    assert "needs ipykernel, nbclient, torch." in told
    assert "broken.ipynb is no notebook: " in told
    assert "SIGTERM" not in told
    assert "run: \"'my train.ipynb'\"\n" in job_file(proposal)


def test_no_folder_and_no_files_are_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError):
            survey(folder)


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=20
)
NAMES = TEXT.filter(lambda text: text.strip() == text and "/" not in text and text not in (".", ".."))


@given(run=st.lists(TEXT, min_size=1, max_size=4), data=NAMES, reason=TEXT)
def test_whatever_files_are_called_the_text_reads_back(run: list[str], data: str, reason: str) -> None:
    fields = {"name": "x", "file_mounts": {f"in/{data}": f"./{data}"}, "run": "\n".join(["echo", *run])}
    proposal = Proposal(fields=fields, reasons={"run": (reason,)}, truths=(reason,))
    with tempfile.TemporaryDirectory() as folder:
        job = read_back(proposal, Path(folder))
    assert job.run is not None
    assert job.run.rstrip("\n") == fields["run"].rstrip("\n")  # type: ignore[union-attr]


HASHED = f"six==1.17 --hash=sha256:{'0' * 64}\n"
DECLARED = "[project]\nname = 'x'\nrequires-python = '>=3.12'\ndependencies = ['torch']\n"
PYLOCK = "lock-version = '1.0'\npackages = []\n"


@pytest.mark.parametrize(
    ("files", "environment", "told"),
    [
        ({"requirements.txt": "torch\n", "environment.yml": "x"}, {"requirements": "requirements.txt"}, ""),
        ({"requirements.txt": "torch\n", "pylock.toml": PYLOCK}, {"lock": "pylock.toml"}, ""),
        ({"requirements.txt": HASHED}, {"lock": "requirements.txt"}, ""),
        ({"deep/environment.yml": "x"}, {"conda": "deep/environment.yml"}, ""),
        ({"requirements.txt": "torch\n", "uv.lock": "version = 1\n"}, {"requirements": "requirements.txt"}, "uv.lock belongs to"),
        ({"pylock.toml": "x"}, None, "pylock.toml is no lock"),
        ({"pyproject.toml": DECLARED}, {"python": "3.12", "requirements": "pyproject.toml"}, ""),
        ({"pyproject.toml": DECLARED, ".python-version": "3.11.4\n"}, {"python": "3.11.4", "requirements": "pyproject.toml"}, ""),
        ({"pyproject.toml": "[tool.poetry]\n", "poetry.lock": "x"}, None, "pyproject.toml declares its dependencies in Poetry's own way; `poetry export"),
        ({"pyproject.toml": "[tool.ruff]\n", "setup.py": "x"}, {"requirements": "setup.py"}, ""),
        ({"requirements.txt": "torch", "pdm.lock": "x"}, {"requirements": "requirements.txt"}, "pdm.lock is a lock of another tool; pdm export"),
    ],
)  # fmt: skip
def test_what_is_pinned_is_proposed_before_what_is_not(
    tmp_path: Path, files: dict[str, str], environment: dict[str, str] | None, told: str
) -> None:
    found = proposed(project(tmp_path / "p", {"train.py": "import torch\n" + parser('"--lr"'), **files}))
    assert found.fields.get("environment") == environment
    assert any(truth.startswith(told) for truth in found.truths) if told else True


def test_any_mix_of_files_gives_a_job_file_that_reads(tmp_path: Path) -> None:
    parts: list[dict[str, str | int]] = [
        {"train.py": parser('"--out"', '"--resume"')},
        {"environment.yml": "name: x", "uv.lock": ""},
        {"data/a b.csv": 5, "input/é.npy": 7},
        {"nb/train.ipynb": '{"cells": [{"cell_type": "code", "source": "import torch"}]}'},
    ]
    for n, chosen in enumerate(itertools.product((False, True), repeat=len(parts))):
        files = {
            name: content
            for part, is_in in zip(parts, chosen, strict=True)
            if is_in
            for name, content in part.items()
        }
        proposed(project(tmp_path / f"p{n}", {"README.md": "", **files}))


def test_answers_are_read_as_people_give_them() -> None:
    told = {"program": "a.py", "gpu": " None ", "max_cost": " $2.50", "cloud": "any"}
    assert Answers.read(told) == Answers(program="a.py", gpu="", max_cost=2.5, cloud="")
    assert Answers.read({"gpu": "L4", "max_cost": "1", "cloud": "aws"}).cloud == "aws"
    for text in ("lots", "0", "-1", "inf", "nan", ""):
        with pytest.raises(UsageError, match="expected an amount in USD"):
            Answers.read({"max_cost": text})


def test_what_a_run_is_to_reach_is_asked_and_becomes_its_metric_and_verdict(tmp_path: Path) -> None:
    writes = 'import os\nprint({"val_bleu": 1})\nopen(os.environ["LAUNCH_METRICS_FILE"], "a")\n' + MAIN
    root = project(tmp_path, {"train.py": writes})
    goal = next(question for question in questions(survey(root), PROVIDERS) if question.about == "goal")
    assert goal.default == "val_bleu max"
    assert proposed(root).fields["metric"] == {"name": "val_bleu", "mode": "max"}
    said = propose(survey(root), Answers.read({"goal": " val_bleu>= 20 "}))
    write_job_file(root / "launch.yaml", job_file(said))
    job = Job.from_yaml(root / "launch.yaml")
    assert (job.metric.name, str(job.expect["val_bleu"])) == ("val_bleu", ">= 20")  # type: ignore[union-attr]
    assert "metric" not in propose(survey(root), Answers.read({"goal": "none"})).fields
    silent = project(tmp_path / "silent", {"train.py": MAIN})
    assert next(one for one in questions(survey(silent), PROVIDERS) if one.about == "goal").default == "none"
    told = propose(survey(silent), Answers.read({"goal": "val_loss < 0.3"})).suggestions
    assert any(line.startswith('expect: {val_loss: "< 0.3"}') for line in told)
    modes = {
        "val_acc": "max", "accuracy": "max", "top1": "max", "sacrebleu": "max", "mAP": "max", "roc_auc": "max", "r2": "max",
        "val_mape": "min", "early_stop_loss": "min", "loss": "min", "val_per": "min",
    }  # fmt: skip
    for name, mode in modes.items():
        assert Goal.parse(name) == Goal(name=name, mode=mode)
    for text in ("val loss down", "val_loss >= much", ">= 3", "a == 2"):
        with pytest.raises(UsageError, match="what it should come to"):
            Answers.read({"goal": text})


def test_a_job_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "launch.yaml"
    write_job_file(target, "run: x\n")
    with pytest.raises(UsageError, match="is there already"):
        refuse_existing(target)
    folder = tmp_path / "taken" / "launch.yaml"
    folder.mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be written") as caught:
        write_job_file(folder, "run: y\n")
    assert caught.value.left_behind == "nothing was written"
    assert [path.name for path in folder.parent.iterdir()] == ["launch.yaml"]


def test_what_it_suggests_reads_back(tmp_path: Path) -> None:
    programs = {
        "import torch\n" + MAIN: ["step 3/90  loss 0.5"],
        "import transformers\ntransformers.TrainingArguments(x)\n" + MAIN: [
            " 3%|▍         | 3/90 [00:01<00:29,  2.95it/s]",
            "{'loss': '0.5', 'grad_norm': 1.5, 'epoch': 0.1}",
        ],
        "import keras\n" + MAIN: [
            "Epoch 3/90",
            "25/25 ━━━━━━ 1s 2ms/step - accuracy: 0.7 - loss: 0.5 - val_loss: 0.9",
        ],
    }
    for text, printed in programs.items():
        (tmp_path / "train.py").write_text(text)
        proposal = propose(survey(tmp_path), Answers())
        found: dict[str, str] = {}
        for line in proposal.suggestions:
            (tmp_path / "launch.yaml").write_text(f"run: x\n{line}\n")
            for pattern in Job.from_yaml(tmp_path / "launch.yaml").progress:
                for said in printed:
                    found |= {} if (match := re.search(pattern, said)) is None else match.groupdict()
        assert found == {"step": "3", "total": "90", "loss": "0.5"}
