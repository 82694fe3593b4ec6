"""Steps per second of `flowkernels train`, launched and captured, and of a loop in plain torch.

    python -m benchmarks.gpu.training --lines training.jsonl [--device cuda] [--seconds 8]

The data are random levels of the size of Fashion-MNIST. The loop in plain torch trains the same
flow with nothing but AdamW, clipping and a cosine schedule: no metrics, no check, no checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from flowkernels.experiments.data.module import InMemoryDataModule
from flowkernels.experiments.training import FlowModule, Run, RunConfig
from flowkernels.experiments.training.run import build_flow
from flowkernels.experiments.training.trainer import make_trainer

from .timing import short

IMAGE = (1, 28, 28)
# The default of the command line, and the paper's architecture.
SIZES = {"default": {"steps": 4, "hidden": 64}, "paper": {"steps": 16, "hidden": 256}}
LOOPS = ("plain loop", "launched", "captured")
# (size, precision), all with the von Mises-Fisher base.
RUNS = (("default", "32-true"), ("paper", "32-true"), ("paper", "bf16-mixed"))
MANY = 10**6


class Clock(pl.Callback):
    """Counts the steps of `seconds`, after `settle` steps; then ends the training."""

    def __init__(self, settle: int, seconds: float) -> None:
        self.settle, self.seconds = settle, seconds
        self.start = self.taken = 0.0
        self.steps = 0

    def tick(self) -> bool:
        """Called after every step: whether the time is over."""
        self.steps += 1
        if self.steps == self.settle:
            _wait()
            self.start = time.perf_counter()
        # A GPU computes behind the host: its time counts too.
        if self.steps > self.settle and time.perf_counter() - self.start > self.seconds:
            _wait()
            self.taken = time.perf_counter() - self.start
            return True
        return False

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Count."""
        trainer.should_stop = self.tick()

    @property
    def rate(self) -> float:
        """Steps per second."""
        return (self.steps - self.settle) / self.taken


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def config_of(size: str, device: str, precision: str) -> RunConfig:
    """The configuration of a run with this architecture."""
    return RunConfig(
        **SIZES[size],  # type: ignore[arg-type]
        base="vmf", epochs=MANY // 100, checkpoint_every=MANY, log_every=50, precision=precision,
        accelerator="gpu" if device.startswith("cuda") else "cpu",
    )  # fmt: skip


def images(count: int = 10_000) -> Tensor:
    """Random levels."""
    return torch.randint(256, (count, *IMAGE), dtype=torch.uint8)


def ours(config: RunConfig, clock: Clock, captured: bool, layout: str = "channels_last") -> float:
    """Steps per second of `flowkernels train`."""
    flow = build_flow(config, IMAGE).to(memory_format=getattr(torch, layout))  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(folder)
        config.save(run.config_file)
        trainer = make_trainer(config, run, progress=False)
        trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        trainer.limit_val_batches = 0
        x = images()
        data = InMemoryDataModule(x, x[:0], x[:0], batch_size=config.batch_size)
        module = FlowModule(
            flow, total_steps=MANY, warmup_steps=100, look_every=config.log_every,
            cuda_graph=captured,
        )  # fmt: skip
        trainer.fit(module, datamodule=data)
    return clock.rate


def plain(config: RunConfig, clock: Clock, device: str) -> float:
    """Steps per second of a loop in plain torch over the same flow."""
    flow = build_flow(config, IMAGE).to(device)
    x = images().to(device)
    fused = x.is_cuda or None
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-3, fused=fused)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / MANY))
    )
    used = len(x) // config.batch_size * config.batch_size  # a smaller last batch is dropped
    halves = config.precision == "bf16-mixed"
    while True:
        order = torch.randperm(len(x), device=device)[:used]
        for batch in order.view(-1, config.batch_size):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=halves):
                loss = flow.bits_per_dim(x[batch]).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), 50.0)
            optimizer.step()
            schedule.step()
            if clock.tick():
                return clock.rate


def rate_of(measure: Callable[[], float]) -> dict[str, Any]:
    """What a measurement returns, as a fact, or why it failed."""
    try:
        return {"steps_per_second": round(measure(), 2)}
    except Exception as error:
        return {"not_timed": short(error)}


def timed(size: str, precision: str, loop: str, device: str, seconds: float) -> dict[str, Any]:
    """The facts of one loop."""
    config = config_of(size, device, precision)
    facts: dict[str, Any] = {"loop": loop, "size": size, "precision": precision}
    facts["batch"] = config.batch_size
    clock = Clock(30 if device.startswith("cuda") else 3, seconds)
    if loop == "plain loop":
        return facts | rate_of(lambda: plain(config, clock, device))
    return facts | rate_of(lambda: ours(config, clock, loop == "captured"))


def variants(device: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Captured steps of the paper's architecture by layout of memory and choice of convolution."""
    for precision in ("32-true", "bf16-mixed"):
        config = config_of("paper", device, precision)
        for layout in ("channels_last", "contiguous_format"):
            for tuned in (False, True) if precision == "32-true" else (True,):
                facts: dict[str, Any] = {"loop": "captured", "size": "paper", "layout": layout}
                facts |= {"precision": precision, "cudnn_benchmark": tuned}
                torch.backends.cudnn.benchmark = tuned
                facts |= rate_of(partial(ours, config, Clock(30, seconds), True, layout))
                torch.backends.cudnn.benchmark = False
                yield facts


def kernels(device: str) -> Iterator[dict[str, Any]]:
    """The kernels that take the most time of a step of the paper's architecture."""
    for precision in ("32-true", "bf16-mixed"):
        flow = build_flow(config_of("paper", device, precision), IMAGE).to(device)
        x = images(64).to(device)
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16-mixed"):
            for _ in range(2):
                flow.bits_per_dim(x).mean().backward()
            activities = [torch.profiler.ProfilerActivity.CUDA]
            with torch.profiler.profile(activities=activities) as profile:
                flow.bits_per_dim(x).mean().backward()
                torch.cuda.synchronize()
        found = [e for e in profile.key_averages() if e.self_device_time_total > 0]
        found.sort(key=lambda e: -e.self_device_time_total)
        total = sum(e.self_device_time_total for e in found)
        for entry in found[:24]:
            yield {
                "kernel": entry.key[:160], "precision": precision, "calls": entry.count,
                "us": round(entry.self_device_time_total, 1),
                "share": round(entry.self_device_time_total / total, 4),
            }  # fmt: skip


def main() -> None:
    """Write one line per loop."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each loop")
    parser.add_argument("--runs", type=int, default=len(RUNS), help="the first ones only")
    parser.add_argument("--kernels", action="store_true", help="also profile a step")
    parser.add_argument("--variants", action="store_true", help="also time layouts of memory")
    chosen = parser.parse_args()

    def measured() -> Iterator[dict[str, Any]]:
        if chosen.kernels:
            yield from kernels(chosen.device)
        for size, precision in RUNS[: chosen.runs]:
            for loop in LOOPS:
                yield timed(size, precision, loop, chosen.device, chosen.seconds)
        if chosen.variants:
            yield from variants(chosen.device, chosen.seconds)

    with chosen.lines.open("w") as file:
        for facts in measured():
            file.write(json.dumps(facts) + "\n")
            file.flush()
            print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
