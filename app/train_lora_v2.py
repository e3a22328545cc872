"""The documented door of old: `python app/train_lora_v2.py …` is `ft30 train …`, from a checkout without installing."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from finetune30.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
