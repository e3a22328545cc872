"""A database and its folders know each other; a folder of another place is refused, not used."""

from __future__ import annotations

import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from finetune30.errors import StorageError
from finetune30.store.folder_marks import MARK, own_folders
from support.run_store_lab import Lab


def own(lab: Lab, results: Path, data: Path) -> tuple[str, ...]:
    folders, notes = own_folders(lab.store, results, data)
    for folder in folders:
        folder.require()
    return notes


def test_folder_of_another_host_is_refused_until_it_is_shared(lab: Lab, tmp_path: Path) -> None:
    results, data, other = tmp_path / "results", tmp_path / "data", tmp_path / "host-b"
    with ThreadPoolExecutor(8) as threads:  # several may be the first at once
        assert set(threads.map(lambda _: own(lab, results, data), range(8))) == {()}
    with pytest.raises(StorageError) as caught:
        own(lab, other, data)
    assert f"which lies on host {socket.gethostname()} at {results}: it has no mark" in caught.value.message
    assert not other.exists()
    assert "name it in FT30_RESULTS_FOLDER" in str(caught.value.remedy)
    with pytest.raises(StorageError, match=r"the data folder .* is not the one of this database"):
        own(lab, results, other)
    other.symlink_to(results)  # as a mounted share stands elsewhere
    assert own(lab, other, data) == ()


def test_folder_that_was_put_back_without_its_mark_gets_it_as_the_message_says(lab: Lab, tmp_path: Path) -> None:
    results, data = tmp_path / "results", tmp_path / "data"
    folders, _ = own_folders(lab.store, results, data)
    (results / MARK).unlink()  # an empty place where a disk was mounted looks like this too
    with pytest.raises(StorageError) as caught:
        folders[0].require()
    found = re.search(r"write (\{.*\}) into (\S+)$", str(caught.value.remedy))
    assert found is not None
    Path(found[2]).write_text(found[1])
    assert own(lab, results, data) == ()
    (results / MARK).write_text('{"id": "another"}')
    with pytest.raises(StorageError, match="it has the mark of another one"):
        folders[0].require()
    (results / MARK).write_text("nothing")
    with pytest.raises(StorageError, match="holds no id"):
        folders[0].require()


def test_versions_may_be_removed_where_they_lie(lab: Lab, tmp_path: Path) -> None:
    results, data = tmp_path / "results", tmp_path / "data"
    own(lab, results, data)
    shutil.rmtree(data)
    assert own(lab, results, data) == ()
    assert (data / MARK).is_file()


def test_empty_database_where_another_one_was_is_said(lab: Lab, tmp_path: Path) -> None:
    results, data = tmp_path / "results", tmp_path / "data"
    lab.create()
    assert own(lab, results, data) == ()
    moved = Lab(f"sqlite:///{tmp_path}/new.db", results)
    (note,) = own(moved, results, data)
    assert note.startswith(f"the database is empty, but {results} holds the folders of 1 run")
    moved.store.close()
    assert own(lab, results, data) == ()  # the other database, named again
