"""An emptied data folder: marked again where it was used first, refused on another host that shares the database."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from sqlalchemy import update

from finetune30.errors import StorageError
from finetune30.store import open_store
from finetune30.store.folder_marks import MARK, own_folders
from finetune30.store.tables import folders

pytestmark = pytest.mark.integration


def test_folder_of_another_host_at_the_same_path_is_refused_until_it_is_marked(
    database_url: str, tmp_path: Path
) -> None:
    results, data = tmp_path / "results", tmp_path / "data"
    store = open_store(database_url)
    own_folders(store, results, data)
    shutil.rmtree(data)
    own_folders(store, results, data)  # emptied by people, on the same host
    with store.engine.begin() as connection:
        connection.execute(update(folders).values(host="elsewhere"))
    shutil.rmtree(data)
    if database_url.startswith("sqlite"):  # a file that no other host has: only the name of this one is new
        own_folders(store, results, data)
        assert (data / MARK).is_file()
    else:
        with pytest.raises(StorageError, match=r"which lies on host elsewhere at .*: it has no mark") as caught:
            own_folders(store, results, data)
        assert not data.exists()
        found = re.search(r"write (\{.*\}) into (\S+)$", str(caught.value.remedy))
        assert found is not None
        data.mkdir()
        Path(found[2]).write_text(found[1])
        own_folders(store, results, data)
    store.close()
