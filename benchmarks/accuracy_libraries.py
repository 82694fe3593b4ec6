"""SciPy and TensorFlow Probability as users call them, for the comparison of errors.

TensorFlow Probability may need a separate environment, with tensorflow-probability, jax and
scipy. There, `python -m benchmarks.accuracy_libraries` writes its errors to accuracy_tfp.json;
`python -m benchmarks.accuracy` reads this file if it cannot import TFP.
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import gammaln, ive

from . import files
from .accuracy_errors import QUANTITIES, Array, digest, errors

STORED = Path(__file__).parent / "accuracy_tfp.json"


def _radial(p: Array, kappa: Array, log_scaled: Array, ratio: Array) -> dict[str, Array]:
    """log C = v log k - (p/2) log 2 pi - log ive - k, and dA = 1 - A^2 - (p-1) A / k.

    kappa = 0, which neither library supports, is set to the uniform's values.
    """
    v = p / 2 - 1
    log_c = v * np.log(kappa) - p / 2 * np.log(2 * np.pi) - log_scaled - kappa
    uniform = gammaln(p / 2) - np.log(2) - p / 2 * np.log(np.pi)
    slope = 1 - ratio * ratio - (p - 1) * ratio / kappa
    at_0 = {"log_c": uniform, "log_c_relative": 0.0, "A": 0.0, "dA": 1 / p}
    got = {"log_c": log_c, "log_c_relative": log_c - uniform, "A": ratio, "dA": slope}
    return {name: np.where(kappa == 0, at_0[name], values) for name, values in got.items()}


class SciPy:
    """Computed from the exponentially scaled ive, as in vonmises_fisher and VAE code."""

    def __init__(self) -> None:
        self.name = f"SciPy {importlib.metadata.version('scipy')}"

    def radial(self, p: Array, kappa: Array) -> dict[str, Array]:
        """From two calls of ive."""
        low, high = ive(p / 2 - 1, kappa), ive(p / 2, kappa)
        return _radial(p, kappa, np.log(low), high / low)

    def log_iv(self, v: Array, x: Array) -> Array:
        """log ive + x."""
        return np.asarray(np.log(ive(v, x)) + x)


class TensorFlowProbability:
    """log_bessel_ive and bessel_iv_ratio in float64, on jax."""

    def __init__(self) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        from tensorflow_probability.substrates import jax as tfp

        self._math: Any = tfp.math
        self.name = f"TFP {tfp.__version__}"

    def _log_ive(self, v: Array, x: Array) -> Array:
        return np.asarray(self._math.log_bessel_ive(v, x))

    def radial(self, p: Array, kappa: Array) -> dict[str, Array]:
        """As tfp.distributions.VonMisesFisher normalises."""
        v = p / 2 - 1
        ratio = np.asarray(self._math.bessel_iv_ratio(v + 1, kappa))
        return _radial(p, kappa, self._log_ive(v, kappa), ratio)

    def log_iv(self, v: Array, x: Array) -> Array:
        """log_bessel_ive + x."""
        return self._log_ive(v, x) + x


def tfp_errors() -> tuple[str, dict[str, Array]] | None:
    """TFP's name and errors: measured if it can be imported, otherwise the stored ones."""
    try:
        tfp = TensorFlowProbability()
    except ImportError:
        return _stored()
    return tfp.name, errors(tfp)


def _stored() -> tuple[str, dict[str, Array]] | None:
    if not STORED.exists():
        return None
    stored = json.loads(STORED.read_text())
    if stored["tables"] != digest():
        return None
    rows = {k: np.array([np.inf if e is None else e for e in stored[k]]) for k in QUANTITIES}
    return stored["name"], rows


def main() -> None:
    """Measure TFP and store its errors."""
    tfp = TensorFlowProbability()
    jax = importlib.metadata.version("jax")
    stored: dict[str, Any] = {"name": f"{tfp.name} on jax {jax}", "tables": digest()}
    for name, values in errors(tfp).items():
        stored[name] = [float(f"{e:.2g}") if np.isfinite(e) else None for e in values]
    text = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in stored.items())
    files.write_text(STORED, "{" + text + "}\n")
    print(f"wrote {STORED}")


if __name__ == "__main__":
    main()
