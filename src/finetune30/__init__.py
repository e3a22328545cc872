"""finetune30: fine-tune a model with LoRA, and never lose, mix up or fail to repeat an experiment."""

__version__ = "0.2.0"
