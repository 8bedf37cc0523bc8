from __future__ import annotations

from launcher.side_by_side import differences, settings_of


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


def test_of_stages_only_the_fields_that_differ_are_left() -> None:
    features = {"name": "features", "run": "python f.py", "outputs": ["f.h5"]}
    first = {"stages": [features, {"name": "hybrid", "run": "python h.py", "needs": ["features"]}]}
    second = {
        "stages": [{**features, "outputs": ["f.h5", "g.h5"]}, {"name": "hybrid", "run": "python h.py --wide"}]
    }
    third = {"stages": [features], "resources": {"any_of": [{"cloud": "gcp"}, {"cloud": "aws"}]}}
    found = differences([settings_of(first), settings_of(second), settings_of(third)])
    assert list(found)[1:4] == ["stages.features.outputs", "stages.hybrid.run", "stages.hybrid.needs"]
    assert found == {
        "stages.order": ("features, hybrid", "features, hybrid", "features"),
        "stages.features.outputs": ("f.h5", "f.h5, g.h5", "f.h5"),
        "stages.hybrid.run": ("python h.py", "python h.py --wide", None),
        "stages.hybrid.needs": ("features", None, None),
        "resources.any_of[0].cloud": (None, None, "gcp"),
        "resources.any_of[1].cloud": (None, None, "aws"),
    }
