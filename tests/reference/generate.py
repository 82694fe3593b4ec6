"""python -m tests.reference.generate: writes the tables of 22-digit values to this folder.

vmf.csv: p, kappa, log C_p(kappa), log C_p(kappa) - log C_p(0), log C_p(kappa) + kappa, A, A',
1 - A and KL(vMF || uniform). log_iv.csv: v, x, log I_v(x) and I_{v+1}(x) / I_v(x).
"""

from __future__ import annotations

from pathlib import Path

from mpmath import mp, mpf

from .high_precision import DIGITS, bessel
from .points import log_iv_points, vmf_points

HERE = Path(__file__).parent
KEPT = 22
VMF_COLUMNS = ("log_c", "log_c_relative", "log_peak", "A", "dA", "complement", "divergence")
LOG_IV_COLUMNS = ("log_iv", "ratio")


def _text(value: mpf) -> str:
    return str(mp.nstr(value, KEPT, min_fixed=-4, max_fixed=KEPT))


def vmf_row(p: int, kappa: float) -> str:
    """A line of vmf.csv."""
    values = bessel(mpf(p) / 2 - 1, kappa)
    with mp.workdps(DIGITS):
        uniform = mp.loggamma(mpf(p) / 2) - mp.log(2) - mpf(p) / 2 * mp.log(mp.pi)
        columns = [
            uniform - values["L"], -values["L"], uniform + values["M"], values["A"],
            values["dA"], values["B"], values["KL"],
        ]  # fmt: skip
        return ",".join([str(p), repr(kappa), *map(_text, columns)])


def log_iv_row(v: float, x: float) -> str:
    """A line of log_iv.csv."""
    values = bessel(v, x)
    return ",".join([repr(v), repr(x), _text(values["log_iv"]), _text(values["A"])])


def tables() -> dict[str, tuple[str, list[str]]]:
    """File name -> its header and its lines."""
    return {
        "vmf.csv": (",".join(("p", "kappa", *VMF_COLUMNS)), [vmf_row(*a) for a in vmf_points()]),
        "log_iv.csv": (
            ",".join(("v", "x", *LOG_IV_COLUMNS)), [log_iv_row(*a) for a in log_iv_points()],
        ),
    }  # fmt: skip


def main() -> None:
    """Write both tables, each atomically."""
    for name, (header, lines) in tables().items():
        partial = HERE / f".{name}.partial"
        partial.write_text("\n".join([header, *lines]) + "\n")
        partial.replace(HERE / name)
        print(f"{name}: {len(lines)} rows")


if __name__ == "__main__":
    main()
