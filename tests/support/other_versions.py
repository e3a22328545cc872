"""Other versions of the package, to run beside this one in tests: copies with something added, an older commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

import finetune30

ROOT = Path(__file__).parents[2]
SOURCES = Path(finetune30.__file__).parents[1]
#: Came with the marks of migrations: the commit before is the newest one that accepts only revisions that it ships.
_FIRST_MARKED = "src/finetune30/store/migrations/versions/r0009_versions.py"

_MIGRATION = '''"""A later revision."""

import os
import signal

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = "{before}"
additive = {additive}


def upgrade() -> None:
    {upgrade}
'''


class OtherVersion:
    """A package below `sources`, run in processes of its own with `tests` for its drills."""

    def __init__(self, sources: Path, tests: Path = ROOT / "tests") -> None:
        self.sources, self.tests = sources, tests

    @classmethod
    def copied(cls, folder: Path, version: str) -> OtherVersion:
        """Copy this package to a folder and give it that version."""
        left_out = shutil.ignore_patterns("__pycache__", "*.kernels")
        shutil.copytree(SOURCES / "finetune30", folder / "src/finetune30", ignore=left_out)
        shutil.copytree(ROOT / "config", folder / "config")
        copy = cls(folder / "src")
        copy.edit("__init__.py", f'"{finetune30.__version__}"', f'"{version}"')
        return copy

    @classmethod
    def before_marks(cls, folder: Path) -> OtherVersion:
        """Take the commit before migrations were marked out of the history; skips the test where there is none."""
        added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", _FIRST_MARKED).decode().split()
        if not added:
            pytest.skip("no older commit: the history does not hold the one that marked migrations")
        archive = _git("archive", "--format=tar", f"{added[0]}^", "src/finetune30", "config", "tests/support")
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        versions = folder / "src/finetune30/store/migrations/versions"
        assert max(path.stem for path in versions.glob("r[0-9]*.py")) == "r0008_fair_queue"
        return cls(folder / "src", folder / "tests")

    def edit(self, file: str, before: str, after: str) -> None:
        """Change the one place in a file that reads so."""
        path = self.sources / "finetune30" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{file} holds {before!r} {text.count(before)} times"
        path.write_text(text.replace(before, after), encoding="utf-8")

    def add_migration(self, name: str, upgrade: str, *, additive: bool) -> None:
        """Add a revision on top of the newest one; `upgrade` is its one statement."""
        versions = self.sources / "finetune30/store/migrations/versions"
        before = max(path.stem for path in versions.glob("r[0-9]*.py"))
        text = _MIGRATION.format(name=name, before=before, additive=additive, upgrade=upgrade)
        (versions / f"{name}.py").write_text(text, encoding="utf-8")

    def environment(self, **more: Any) -> dict[str, str]:
        """Return what makes a Python process find this version, and `support` of its time."""
        return {"PYTHONPATH": os.pathsep.join((str(self.sources), str(self.tests))), **more}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "finetune30", *arguments]

    def run(self, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this version to its end."""
        settings = {**os.environ, **self.environment(**environment)}
        return subprocess.run(
            self.command(*arguments), env=settings, cwd=cwd, capture_output=True, text=True, check=False
        )

    def migrating(self, database_url: str) -> list[str]:
        """Return the command line of a process that opens a database and closes it again."""
        code = f"from finetune30.store import open_store; open_store({database_url!r}).close()"
        return [sys.executable, "-c", code]

    def migrate(self, database_url: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Open a database, which brings it to the revisions of this version, and close it again."""
        settings = {**os.environ, **self.environment(**environment)}
        return subprocess.run(self.migrating(database_url), env=settings, capture_output=True, text=True, check=False)


def _git(*arguments: str) -> bytes:
    """Return what git prints; skips the test where the history cannot be asked."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("git is not installed, so no older commit can be had")
    if done.returncode != 0:
        pytest.skip(f"no older commit can be had: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
