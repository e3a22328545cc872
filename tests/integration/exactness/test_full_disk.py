"""A disk that is full at any write of a run: it ends well or says so, and the state before it survives."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from finetune30.store import open_store
from support.exactness import fingerprint

pytestmark = pytest.mark.integration

#: Writes of the demanding run: logs, history, every checkpoint's files, the staged result, the manifest.
WRITES = 75


def fill_and_resume(demanding, point, series="one"):
    """Let the disk be full as `point` says; if that ended the run, resume it; compare.

    `series` keeps the results of the short and of the long form apart, which meet at some points.
    """
    lab, expected = demanding()
    results = f"{series}.{point}".replace(":", ".")
    ended = lab.train(results, FT30_FAILPOINT=point)
    assert "Traceback" not in ended.stderr
    if ended.returncode != 0:
        assert "No space left on device" in ended.stderr
        ended = lab.ft30("resume", "latest", results=results)
        assert ended.returncode == 0, ended.stderr
    assert fingerprint(lab.run_folder(results), with_events=False) == expected


@pytest.mark.parametrize("point", ["disk.write:2:enospc", "disk.write:34:enospc", "disk.write:40+:enospc"])
def test_full_disk_at_a_write_loses_nothing(demanding, point):
    fill_and_resume(demanding, point)


@pytest.mark.parametrize(
    "name", ["checkpoint.before_manifest:3", "publish.after_manifest:1", "publish.after_each_move:2"]
)
def test_full_disk_at_a_turning_point_loses_nothing(demanding, name):
    fill_and_resume(demanding, f"{name}:enospc")


@pytest.mark.chaos
@pytest.mark.parametrize("number", range(1, WRITES + 1))
@pytest.mark.parametrize("more", ["", "+"])
def test_full_disk_at_every_write_loses_nothing(demanding, number, more):
    fill_and_resume(demanding, f"disk.write:{number}{more}:enospc", series="every")


@pytest.mark.parametrize("left_bytes", [250_000])
def test_really_full_disk_loses_nothing(demanding, left_bytes):
    """A small tmpfs, database included, with so many bytes left beside the empty database."""
    lab, expected = demanding()
    disk = lab.folder / f"disk-{left_bytes}"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        filler = disk / "filler"
        open_store(f"sqlite:///{disk / 'experiments.db'}").close()
        filler.write_bytes(bytes(shutil.disk_usage(disk).free - left_bytes))
        ended = lab.train(disk.name)
        assert "Traceback" not in ended.stderr
        assert "disk is full" in ended.stderr or "No space left on device" in ended.stderr
        filler.unlink()
        if ended.returncode != 0:
            ended = lab.ft30("resume", "latest", results=disk.name)
            assert ended.returncode == 0, ended.stderr
        assert fingerprint(lab.run_folder(disk.name), with_events=False) == expected
    finally:
        subprocess.run(["umount", str(disk)], check=True)
