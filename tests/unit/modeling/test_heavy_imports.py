"""Heavy imports: the modules are there, the garbage collector works on, and what they made is out of its way."""

import gc
import sys

import pytest

from finetune30.modeling.heavy_imports import import_heavy


@pytest.fixture
def heavy_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "heavy_by_name.py").write_text("import gc\ncollects = gc.isenabled()\nkept = [[] for _ in range(9)]\n")
    yield "heavy_by_name"
    sys.modules.pop("heavy_by_name", None)
    gc.unfreeze()


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
    gc.unfreeze()
