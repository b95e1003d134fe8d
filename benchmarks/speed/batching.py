"""Length-sorted micro-batches against padded batches: one training step on the same texts, side by side.

    python -m benchmarks.speed.batching

Both sides are all-MiniLM-L6-v2 in the device's own precision with the same InfoNCE over the same 64 Debian pairs, dropout off,
so that the losses printed must agree; rounds alternate, and the medians' ratio is what counts. Real tokens only are counted.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.parquet as pq
import torch

from finewise.config import ModelConfig
from finewise.device import autocast, pick_device, use_bf16
from finewise.encoder import Encoder, load_encoder
from finewise.references import package_path

BATCH = 64


def pairs(rounds: int) -> Iterator[tuple[list[str], list[str]]]:
    """Yield a batch of anchors and positives per round."""
    table = pq.read_table(
        package_path("package:benchmarks/datasets/debian/train.parquet"), columns=["anchor", "positive"]
    )
    for start in range(0, rounds * BATCH, BATCH):
        rows = table.slice(start, BATCH)
        yield rows["anchor"].to_pylist(), rows["positive"].to_pylist()


def step(
    model: Encoder, columns: Sequence[list[str]], budget: int | None, bf16: bool, device: str
) -> tuple[float, int, float]:
    """Do one forward and backward pass; return seconds, real tokens, and the loss."""
    model.micro_batch_tokens = budget
    model.zero_grad()
    start = time.perf_counter()
    features: list[dict[str, Any]] = [
        {
            key: value.to(device) if isinstance(value, torch.Tensor) else value
            for key, value in model.preprocess(texts).items()
        }
        for texts in columns
    ]
    tokens = sum(int(batch["attention_mask"].sum()) for batch in features)
    with autocast(bf16, device):
        anchors, positives = (model(batch)["sentence_embedding"] for batch in features)
    scores = anchors.float() @ positives.float().T * 20
    loss = torch.nn.functional.cross_entropy(scores, torch.arange(BATCH, device=device))
    loss.backward()  # type: ignore[no-untyped-call]
    value = loss.item()
    return time.perf_counter() - start, tokens, value


def main() -> None:
    """Print a row per setting, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (default 5)")
    parser.add_argument("--budgets", type=int, nargs="+", default=[1024, 2048, 4096], help="tokens per micro-batch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    given = parser.parse_args()
    device = pick_device(given.device)
    bf16 = use_bf16("auto", device)
    model = load_encoder(ModelConfig(), device).eval()
    settings: list[int | None] = [None, *given.budgets]
    found: dict[int | None, list[tuple[float, int, float]]] = {budget: [] for budget in settings}
    batches = list(pairs(given.rounds + 1))
    for columns in batches[:1]:
        for budget in settings:
            step(model, columns, budget, bf16, device)
    for columns in batches[1:]:
        for budget in settings:
            found[budget].append(step(model, columns, budget, bf16, device))
    print(
        f"{device}, {'bf16 autocast' if bf16 else 'fp32'}, {given.rounds} alternating rounds of {BATCH} pairs; medians"
    )
    base = statistics.median(seconds for seconds, _, _ in found[None])
    for budget, rounds in found.items():
        seconds = statistics.median(row[0] for row in rounds)
        rate = statistics.median(row[1] / row[0] for row in rounds)
        name = "padded" if budget is None else f"sorted, {budget} tokens"
        print(
            f"{name:20} {BATCH / seconds:6.1f} pairs/s {rate:8.0f} tokens/s   {base / seconds:5.2f} x padded   "
            f"mean loss {statistics.mean(row[2] for row in rounds):.4f}"
        )


if __name__ == "__main__":
    main()
