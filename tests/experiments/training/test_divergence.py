"""A non-finite loss stops training before it changes the weights."""

import pytest
import torch

from flowkernels.experiments.training import FlowModule, NonFiniteError, Run, fit


@pytest.fixture
def poison(monkeypatch):
    """Makes the loss, or only its gradient, non-finite after a number of steps."""

    def install(at: int, factor: float, gradient_only: bool = False):
        step = FlowModule.training_step

        def poisoned(self, batch, index):
            loss = step(self, batch, index)
            if self.global_step != at:
                return loss
            if gradient_only:
                return loss + (0 * loss.detach().sum() + self.flow_zero()).sqrt()
            self._loss = loss.detach() * factor
            return loss * factor

        # sqrt has an infinite slope at 0, and 0 * inf is nan.
        monkeypatch.setattr(
            FlowModule,
            "flow_zero",
            lambda self: 0 * next(self.flow.parameters()).sum(),
            raising=False,
        )
        monkeypatch.setattr(FlowModule, "training_step", poisoned)

    return install


@pytest.mark.parametrize(
    ("factor", "gradient_only"), [(float("nan"), False), (float("inf"), False), (1.0, True)]
)
def test_divergence_keeps_the_last_good_state(tmp_path, tiny, poison, factor, gradient_only):
    poison(6, factor, gradient_only)
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteError) as caught:
        fit(tiny(checkpoint_every=5), run.path, progress=False)
    message = str(caught.value)
    assert message.startswith("step 7 (epoch 2): the loss is ")
    assert f"last good checkpoint is {run.last} (step 5)" in message
    assert "--learning-rate" in message
    state = torch.load(run.last, weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["state_dict"].values())


def test_checkpoint_with_bad_weights_is_rolled_back(tmp_path, tiny, poison):
    poison(6, float("nan"))
    run = Run(tmp_path / "run")
    with pytest.raises(NonFiniteError, match=r"last\.ckpt \(step 5\)"):
        fit(tiny(checkpoint_every=1), run.path, progress=False)
    assert torch.load(run.last, weights_only=True)["global_step"] == 5


def test_the_first_step_leaves_no_checkpoint(tmp_path, tiny, poison):
    poison(0, float("nan"))
    with pytest.raises(NonFiniteError, match="No checkpoint was written before that"):
        fit(tiny(), tmp_path / "run", progress=False)


def test_huge_learning_rate_gives_the_same_message(tmp_path, tiny):
    config = tiny(learning_rate=1e3, epochs=30, warmup_steps=0, schedule="constant")
    with pytest.raises(NonFiniteError, match=r"^step \d+ \(epoch \d+\): the loss is"):
        fit(config, tmp_path / "run", progress=False)
