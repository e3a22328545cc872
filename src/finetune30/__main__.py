"""`python -m finetune30` is `ft30`."""

from finetune30.cli.main import main

if __name__ == "__main__":
    main()
