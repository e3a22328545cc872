"""Problems of installed packages: broken ones are named, and are in nobody's way who does not use them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune30.config.problem_types import known_problem_types, plugin_packages
from finetune30.errors import ConfigError
from finetune30.problems import find_problem, load_problem
from finetune30.problems.trainables import load_trainable
from finetune30.service.runs.blocks import build_result_blocks

#: Package -> what its modules hold; `problem_of_NAME` is the problem that it says it has.
PACKAGES = {
    "broken_import": {"data.py": "import there_is_no_such_module_at_all"},
    "broken_code": {"data.py": "1 / 0"},
    "broken_table": {"data.py": "X = 1"},
    "broken_name": {"data.py": "PROBLEMS = {'another': 1}"},
    "half_there": {"data.py": "PROBLEMS = {'problem_of_half_there': object()}"},
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    described = tmp_path / "broken-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    lines = [f"problem_of_{name} = {name}" for name in (*PACKAGES, "missing")]
    (described / "entry_points.txt").write_text(
        "\n".join(["[finetune30.problems]", *lines, "regression = missing", "auto = missing", ""])
    )
    for name, modules in PACKAGES.items():
        (tmp_path / name).mkdir()
        for file, text in {"__init__.py": "", **modules}.items():
            (tmp_path / name / file).write_text(text + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugin_packages.cache_clear()
    yield
    plugin_packages.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] in PACKAGES]:
        del sys.modules[name]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("package", "cause"),
    [
        ("missing", "data: ModuleNotFoundError: No module named 'missing'"),
        ("broken_import", "data: ModuleNotFoundError: No module named 'there_is_no_such_module_at_all'"),
        ("broken_code", "data: ZeroDivisionError: division by zero"),
        ("broken_table", "data: AttributeError: module 'broken_table.data' has no attribute 'PROBLEMS'"),
        ("broken_name", "data: PROBLEMS has no 'problem_of_broken_name'"),
    ],
)
def test_broken_package_is_named_with_what_is_wrong(package: str, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_problem(f"problem_of_{package}")
    assert f"its package '{package}' is broken ({cause})" in caught.value.message
    assert find_problem(f"problem_of_{package}") is None
    # A record of such a run is shown all the same.
    assert build_result_blocks({"problem_type": f"problem_of_{package}", "eval_loss": 0.5})


@pytest.mark.usefixtures("installed")
def test_package_without_the_half_about_models_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'half_there' is broken .training: ModuleNotFoundError"):
        load_trainable("problem_of_half_there", {})


@pytest.mark.usefixtures("installed")
def test_packages_take_no_name_of_the_product() -> None:
    names = known_problem_types()
    assert len(names) == len(set(names))
    assert load_problem("regression").name == "regression"


def test_unknown_problem_is_none() -> None:
    assert find_problem("there_is_no_such_problem") is None


@pytest.mark.usefixtures("installed")
def test_a_package_that_was_mended_works(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is broken") as caught:
        load_problem("problem_of_broken_code")
    assert caught.value.remedy == "mend or update that package, or choose another model.problem_type"
    (tmp_path / "broken_code" / "data.py").write_text("PROBLEMS = {'problem_of_broken_code': 'mended'}\n")
    mended: object = load_problem("problem_of_broken_code")
    assert mended == "mended"
    assert load_problem("regression").name == "regression"  # another one, too
