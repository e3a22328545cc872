"""The starter chat model: SmolLM2-135M-Instruct, dequantised from Q4_1, so that chatting needs no hub; no torch.

It comes in a package (`requirements-chat.txt`) whose own requirements are not wanted, as a GGUF file, which nothing can
train. Once converted it is a folder like any other base model.
"""

from finetune30.modeling.starter_chat.conversion import (
    StarterChat,
    ensure_starter_chat_model,
    find_starter_chat_model,
    is_installed,
)

__all__ = ["StarterChat", "ensure_starter_chat_model", "find_starter_chat_model", "is_installed"]
