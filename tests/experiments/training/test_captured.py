"""Training with captured steps, with a stand-in for CUDA graphs on the CPU."""

import copy
import dataclasses
import math
import weakref

import pytest
import torch

from flowkernels.experiments.training import FlowModule, NonFiniteError, Run, fit
from flowkernels.experiments.training.captured import CapturedStep

from .same import assert_same_runs


class Graph:
    """Computes the step again on the captured tensors, into the captured results."""

    def __init__(self, captured):
        self.captured = weakref.proxy(captured)
        self.replays = 0

    def replay(self):
        self.replays += 1
        self.captured._loss = self.captured._step(self.captured._batch)


@pytest.fixture
def graphs(monkeypatch):
    """Captures on the CPU, by the stand-in; the list gets every graph."""
    made = []

    def capture(self, batch):
        self._batch = batch.clone()
        made.append(Graph(self))
        return made[-1]

    monkeypatch.setattr(CapturedStep, "_capture", capture)
    monkeypatch.setattr(CapturedStep, "_eager", lambda self, batch: self._step(batch))
    monkeypatch.setattr(FlowModule, "_defers", lambda self: True)
    monkeypatch.setattr(FlowModule, "_captures", lambda self: self.cuda_graph)
    return made


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "accumulate": 3}])
def test_captured_training_is_the_same(tmp_path, tiny, graphs, changes):
    config = tiny(epochs=2, gradient_clip=0.5, **changes)
    fit(config, tmp_path / "captured", progress=False)
    assert [graph.replays for graph in graphs] == [2 * 4 - 3]
    fit(dataclasses.replace(config, cuda_graph="off"), tmp_path / "launched", progress=False)
    assert len(graphs) == 1
    assert_same_runs(tmp_path / "captured", tmp_path / "launched")


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9, "accumulate": 3}])
def test_captured_training_resumes_exactly(tmp_path, tiny, graphs, changes):
    config = tiny(checkpoint_every=3, epochs=2, **changes)
    fit(config, tmp_path / "whole", progress=False)
    stopped = Run(tmp_path / "stopped")
    fit(config, stopped.path, progress=False)
    stopped.previous.replace(stopped.last)
    fit(config, stopped.path, resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", stopped.path)


@pytest.mark.parametrize("at", [0, 2, 3, 5, 6])
def test_captured_step_that_is_not_finite(tmp_path, tiny, graphs, monkeypatch, at):
    """Inside a graph too, it and all steps after it leave the weights unchanged."""
    calls, scores = [], FlowModule.score

    def poisoned(self, batch):
        if not self.training:
            return scores(self, batch)
        calls.append(self.global_step)
        factor = math.nan if len(calls) == at + 1 else 1.0
        return scores(self, batch) * factor

    monkeypatch.setattr(FlowModule, "score", poisoned)
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteError, match=rf"^step {at + 1} ") as caught:
        fit(tiny(checkpoint_every=2, log_every=100), run.path, progress=False)
    assert caught.value.good_steps == at
    if run.last.exists():
        assert torch.load(run.last, weights_only=True)["global_step"] <= at


def test_batch_of_another_shape_is_computed_and_captured_again(graphs):
    seen = []

    def step(batch):
        seen.append(tuple(batch.shape))
        return batch.sum()

    captured = CapturedStep(step, eager_calls=2)
    for _ in range(4):
        assert captured(torch.ones(3)) == 3
    assert captured.is_captured and len(graphs) == 1
    assert captured(torch.ones(5)) == 5
    assert not captured.is_captured
    for _ in range(3):
        assert captured(torch.ones(5)) == 5
    assert len(graphs) == 2
    assert seen == [(3,)] * 4 + [(5,)] * 4


def test_no_graph_is_left_after_training(tmp_path, tiny, graphs):
    module = fit(tiny(), tmp_path / "run", progress=False)
    assert graphs
    assert module._captured is None
    copy.deepcopy(module.flow)


def test_no_graph_on_a_cpu(tmp_path, tiny):
    module = fit(tiny(epochs=1), tmp_path / "run", progress=False)
    assert module.cuda_graph
    assert not module._captures()


def test_step_that_cannot_be_captured(monkeypatch):
    class Refusing:
        def __init__(self, graph, stream):
            pass

        def __enter__(self):
            raise RuntimeError("operation not permitted when stream is capturing")

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", Refusing)
    captured = CapturedStep(lambda batch: batch.sum(), eager_calls=0)
    with pytest.raises(RuntimeError, match=r"cannot be captured .*--cuda-graph off"):
        captured(torch.ones(3))
