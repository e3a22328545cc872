"""Heavy imports: the modules are there, the garbage collector works on, and what they made is out of its way."""

import gc
import subprocess
import sys

import pytest

from finetune30.modeling.heavy_imports import import_heavy


@pytest.fixture
def heavy_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "heavy_by_name.py").write_text("import gc\ncollects = gc.isenabled()\nkept = [[] for _ in range(9)]\n")
    gc.unfreeze()
    yield "heavy_by_name"
    sys.modules.pop("heavy_by_name", None)
    gc.freeze()  # as all tests found it (tests/conftest.py)


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_rests_while_importing_and_is_as_it_was_afterwards(heavy_module, enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        import_heavy(heavy_module)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
    assert sys.modules[heavy_module].collects is False
    assert gc.get_freeze_count() > 0


def test_what_is_there_already_freezes_nothing(heavy_module):
    import_heavy(heavy_module)
    gc.unfreeze()
    import_heavy(heavy_module)
    assert gc.get_freeze_count() == 0


def test_collector_works_on_after_a_failed_import():
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError):
        import_heavy("no_such_module_anywhere")
    assert gc.isenabled()


#: A package of that name that compiles as it is imported, as bitsandbytes does when PEFT imports it.
COMPILES = """
import torch

@torch.compile(dynamic=False, backend="eager")
def doubled(values):
    return 2 * values

@torch.compile
def named():
    "What it says."
"""
CALLS = """
import sys, torch
from finetune30.modeling.heavy_imports import import_heavy
compile_now = torch.compile
import_heavy("peft")
import peft
print("torch._inductor" in sys.modules, torch.compile is compile_now, peft.named.__doc__)
print(peft.doubled(torch.ones(2)).tolist(), "torch._dynamo.convert_frame" in sys.modules)
"""


def test_what_compiles_as_it_is_imported_brings_the_compiler_in_at_its_first_call(tmp_path):
    (tmp_path / "peft.py").write_text(COMPILES)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{CALLS}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["False True What it says.", "[2.0, 2.0] True"], done.stderr
