from __future__ import annotations

from launcher.side_by_side import differences


def test_only_what_differs_is_left() -> None:
    first = {"run": "python a.py --lr 1", "setup": "x\ny\n", "envs.SEED": "1", "machine": "local"}
    second = {"run": "python a.py --lr 2", "setup": "x\ny\n", "machine": "local"}
    assert differences([first, second]) == {
        "run": ("python a.py --lr 1", "python a.py --lr 2"),
        "envs.SEED": ("1", None),
    }
    assert differences([first, first]) == {}


def test_of_scripts_only_the_lines_that_differ_are_left() -> None:
    scripts = ["cd src\npython a.py\necho done\n", "cd src\npython b.py\necho done\n", "cd src\necho done"]
    assert differences([{"run": script} for script in scripts]) == {"run": ("python a.py", "python b.py", "")}
    assert differences([{"run": scripts[0]}, {}]) == {"run": ("cd src\npython a.py\necho done", None)}
