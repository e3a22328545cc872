"""The documented door of old: `python app/train_lora_v2.py …` is `ft30 train …`, from a checkout without installing."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"

sys.path.insert(0, str(ROOT / "src"))

try:
    from finetune30.cli.main import main
except ImportError as error:  # a Python without the packages: the one that `make install` built has them
    python = ENVIRONMENT / "bin" / "python"
    if Path(sys.prefix) != ENVIRONMENT and python.exists():
        os.execv(python, [str(python), *sys.argv])  # noqa: S606 - our own interpreter, the same arguments
    sys.exit(f"Error: {sys.executable} lacks what finetune30 needs: {error}\nTry: make install")

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
