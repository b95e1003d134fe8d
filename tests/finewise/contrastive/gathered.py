"""A script, not a test: the masked loss over two processes against the same batch in one.

Usage: python gathered.py MODEL STORE_FILE; exits with 0 when the losses and gradients agree.
"""

import os
import sys
import warnings
from typing import Any

import numpy as np
import torch
import torch.distributed

from finewise.config import ModelConfig
from finewise.contrastive.config import CachedMultipleNegativesRanking, MatryoshkaConfig, MultipleNegativesRanking
from finewise.contrastive.losses import build
from finewise.contrastive.negatives import KnownPositives
from finewise.encoder import load_encoder

ANCHORS = ["bal bam", "dol dom", "kil kim", "lul", "mel men", "nol"]
POSITIVES = ["bal ban", "dol", "kil bal", "lul lum", "mel", "nol non"]
KNOWN = KnownPositives.from_hashes(
    # Rows 0 and 4 share their anchor, across the two processes: each one's positive must be masked for the other.
    np.array([0, 1, 2, 3, 0, 5], dtype=np.uint64),
    np.array([[0], [1], [2], [3], [4], [5]], dtype=np.uint64),
)
IDS = np.column_stack([KNOWN.anchors, KNOWN.documents])


def loss_and_gradient(model: str, config: Any, rows: list[int], world: int) -> tuple[torch.Tensor, torch.Tensor]:
    encoder = load_encoder(ModelConfig(name=model), "cpu").eval()
    loss = build(config, MatryoshkaConfig(), encoder, KNOWN, world=world)
    features = [encoder.preprocess([texts[row] for row in rows]) for texts in (ANCHORS, POSITIVES)]
    value = loss(features, torch.from_numpy(IDS[rows]))
    value.backward()
    return value.detach(), torch.cat(
        [weight.grad.flatten() for weight in encoder.parameters() if weight.grad is not None]
    )


def compare(rank: int, model: str, store: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    for config in (
        MultipleNegativesRanking(symmetric=True),
        MultipleNegativesRanking(symmetric=False),
        CachedMultipleNegativesRanking(mini_batch_tokens=8),
    ):
        value, gradient = loss_and_gradient(model, config, [0, 1, 2] if rank == 0 else [3, 4, 5], 2)
        for tensor in (value, gradient):
            torch.distributed.all_reduce(tensor)
        expected, expected_gradient = loss_and_gradient(model, config, list(range(6)), 1)
        torch.testing.assert_close(value / 2, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient / 2, expected_gradient, rtol=1e-4, atol=1e-5)
    torch.distributed.barrier()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # the library gathers by a function that torch deprecates
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            compare(rank, *sys.argv[1:])
            os._exit(0)
        children.append(child)
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
