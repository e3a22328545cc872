"""The memory of an evaluation and a step does not grow with rows times vocabulary."""

from __future__ import annotations

import subprocess
import sys

#: 2,000 tokens under a vocabulary of 250,000: their logits alone would take 2 GB, and as much again for the gradient.
SCRIPT = """
import resource, torch
from torch import nn
from finetune30.problems.causal_lm.token_loss import LogitsHead, token_losses

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

torch.set_num_threads(2)
head = LogitsHead(nn.Linear(8, 250_000, bias=False).requires_grad_(False))
hidden = torch.randn(4, 500, 8, requires_grad=True)
targets = torch.randint(0, 250_000, (4, 500))
token_losses(head, hidden[:, :20], targets[:, :20])[..., 0].sum().backward()
before = peak()
token_losses(head, hidden, targets)[..., 0].sum().backward()
print(peak() - before)
"""


def test_many_tokens_under_a_large_vocabulary_take_no_more_than_a_few() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    more_kilobytes = int(done.stdout)
    assert more_kilobytes < 500_000
