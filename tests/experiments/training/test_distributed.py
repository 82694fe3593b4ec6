"""Two processes on the CPU with Lightning's ddp strategy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowkernels.experiments.training import Run

from .same import assert_same_runs

# Lightning starts the second process by running this file again.
SCRIPT = """
import hashlib, json, shutil, sys
from pathlib import Path
import torch
from flowkernels.experiments.training import RunConfig, fit
from flowkernels.experiments.training.checkpoint import AtomicCheckpointIO

torch.set_num_threads(1)
folder, settings, copy = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
save = AtomicCheckpointIO.save_checkpoint

def save_and_copy(self, checkpoint, path, storage_options=None):
    save(self, checkpoint, path, storage_options)
    if copy and checkpoint["global_step"] == 5:
        shutil.copytree(folder, copy[0])

AtomicCheckpointIO.save_checkpoint = save_and_copy
module = fit(RunConfig(**settings), folder, resume=not copy, progress=False)
digest = hashlib.sha256()
for value in module.flow.state_dict().values():
    digest.update(value.detach().numpy().tobytes())
noise = torch.rand(4).tolist()
rank, size = module.trainer.global_rank, module.trainer.world_size
Path(folder, f"rank{rank}").write_text(json.dumps([size, digest.hexdigest(), noise]))
"""


def train(script: Path, *arguments: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_agree_and_resume(tmp_path, tiny):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    config = tiny(devices=2, checkpoint_every=5)
    settings = json.dumps(config.to_dict())
    train(script, str(tmp_path / "whole"), settings, str(tmp_path / "stopped"))

    ranks = [json.loads((tmp_path / "whole" / f"rank{rank}").read_text()) for rank in (0, 1)]
    (size, weights, noise), (_, other_weights, other_noise) = ranks
    assert size == 2
    assert weights == other_weights
    assert noise != other_noise, "two processes must not draw the same noise"
    # Only one process writes the metrics.
    rows = Run(tmp_path / "whole").history_file.read_text().splitlines()
    assert len(rows) == 1 + 4 + 3

    assert not (tmp_path / "stopped" / "rank0").exists()
    train(script, str(tmp_path / "stopped"), settings)
    assert_same_runs(tmp_path / "whole", tmp_path / "stopped")
    for rank in (0, 1):
        assert json.loads((tmp_path / "stopped" / f"rank{rank}").read_text()) == ranks[rank]
