"""Puts the shipped configurations of `config/` into the package as `finetune30/presets`; the rest: pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPresets(build_py):
    """Copies config/*.yaml, but not the temporary files of submitted runs."""

    def run(self) -> None:
        """Build the package, then add the presets."""
        super().run()
        if self.editable_mode:
            return  # an editable installation reads config/ itself
        target = Path(self.build_lib, "finetune30", "presets")
        self.mkpath(str(target))
        for source in sorted(Path("config").glob("*.yaml")):
            if not source.name.startswith("temp_"):
                self.copy_file(str(source), str(target / source.name))


setup(cmdclass={"build_py": BuildWithPresets})
