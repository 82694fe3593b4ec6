"""Arrays, tensors, dtypes, layouts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowkernels.cluster import SphericalKMeans, VonMisesFisherMixture
from flowkernels.cluster._rows import points, unit_rows
from flowkernels.cluster._sources import Points

from .problems import mixture_data, unit

ESTIMATORS = [SphericalKMeans(3, random_state=0), VonMisesFisherMixture(3, random_state=0)]
X, _, _ = mixture_data(150, 4, 3, 40.0, seed=0)
each_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)


def again(estimator: Any, **changes: Any) -> Any:
    return type(estimator)(**{**estimator.get_params(), **changes})


def fitted(estimator: Any) -> list[str]:
    names = ("cluster_centers_", "labels_", "locs_", "weights_", "concentrations_")
    return [name for name in names if hasattr(estimator, name)]


@each_estimator
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_give_tensors(estimator: Any, dtype: torch.dtype) -> None:
    x = torch.from_numpy(X).to(dtype)
    fit = again(estimator).fit(x)
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    for name in fitted(fit):
        value = getattr(fit, name)
        assert isinstance(value, torch.Tensor)
        assert value.dtype == (torch.int64 if name == "labels_" else wanted)
    labels = fit.predict(x)
    assert labels.dtype == torch.int64 and isinstance(fit.score(x), float)
    # Another kind than that of the fit: the kind of the input counts.
    assert isinstance(fit.predict(X), np.ndarray)
    assert (fit.predict(X) == labels.numpy()).mean() > 0.98
    if hasattr(fit, "sample"):
        assert isinstance(fit.sample(3)[0], torch.Tensor)
        assert fit.predict_proba(X).dtype == np.float64 and fit.predict_proba(x).dtype == wanted


@each_estimator
def test_arrays_and_tensors_agree(estimator: Any) -> None:
    from_array, from_tensor = again(estimator).fit(X), again(estimator).fit(torch.from_numpy(X))
    for name in fitted(from_array):
        assert isinstance(getattr(from_array, name), np.ndarray)
        np.testing.assert_array_equal(getattr(from_array, name), getattr(from_tensor, name).numpy())


@each_estimator
def test_layouts(estimator: Any, tmp_path: Path) -> None:
    """Strided, reversed, read-only, of foreign byte order, mapped from a file: the same fit."""
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, X.shape)
    file[:] = X
    wide = np.zeros((len(X), 9))
    wide[:, ::2][:, :4] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    expected = again(estimator).fit(X)
    same = {
        "fortran": np.asfortranarray(X),
        "strided": wide[:, ::2][:, :4],
        "reversed": X[::-1].copy()[::-1],
        "read-only": read_only,
        "byte order": X.astype(X.dtype.newbyteorder()),
        "mapped": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "list": X.tolist(),
        "objects": X.astype(object),
        "requires_grad": torch.from_numpy(X).requires_grad_(),
    }
    for name, x in same.items():
        for attribute in fitted(expected):
            found = np.asarray(getattr(again(estimator).fit(x), attribute))
            np.testing.assert_allclose(found, getattr(expected, attribute), atol=1e-9, err_msg=name)


@each_estimator
def test_lengths_do_not_count(estimator: Any) -> None:
    scale = 10.0 ** np.random.default_rng(0).uniform(-300, 300, (len(X), 1))
    expected = again(estimator).fit(X)
    found = again(estimator).fit(scale * X)
    for name in fitted(expected):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-7)
    with pytest.raises(
        ValueError, match=r"normalize=False, X must have rows of unit length, got length"
    ):
        again(estimator, normalize=False).fit(scale * X)
    again(estimator, normalize=False).fit(X)


@each_estimator
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_tensors_stay_on_their_device(estimator: Any) -> None:
    x = torch.from_numpy(2 * X).cuda()
    weights = torch.ones(len(x), device="cuda")
    fit, on_cpu = again(estimator).fit(x, sample_weight=weights), again(estimator).fit(2 * X)
    for name in fitted(fit):
        value = getattr(fit, name)
        assert value.device == x.device
        np.testing.assert_allclose(value.cpu().numpy(), getattr(on_cpu, name), atol=1e-7)
    assert fit.predict(x).device == x.device
    assert (fit.predict(X) == fit.predict(x).cpu().numpy()).all()
    fit.partial_fit(x).fit_batches(x.split(40))
    if hasattr(fit, "sample"):
        assert fit.sample(5)[0].device == x.device and fit.predict_proba(x).device == x.device


def test_unit_rows_are_used_in_place() -> None:
    for x in (X, X.astype(np.float32), torch.from_numpy(X)):
        normal = unit(np.asarray(x)).astype(np.asarray(x).dtype)
        source = Points("owner", normal, None, True)
        ((rows, _),) = source.blocks()
        assert source.ready and rows.data_ptr() == normal.ctypes.data
    scaled = Points("owner", 2 * X, None, True)
    assert not scaled.ready
    rows = torch.cat([rows for rows, _ in scaled.blocks()])
    np.testing.assert_allclose(rows.numpy(), X, rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_any_length_become_unit(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    lengths = torch.tensor([info.max / 4, info.tiny, info.tiny * info.eps * 4, 1.0], dtype=dtype)
    x = torch.tensor([[1.0, 1.0, -1.0]], dtype=dtype) * lengths[:, None]
    rows, same = unit_rows("owner", x, dtype, True)
    wanted = (torch.tensor([1.0, 1.0, -1.0], dtype=dtype) / 3**0.5).expand(4, 3)
    torch.testing.assert_close(rows, wanted, rtol=4 * info.eps, atol=0)
    assert not same


@each_estimator
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((5, 3)), ValueError, "got zeros in row 0"),
        (
            np.where(np.arange(5)[:, None] == 3, np.nan, np.ones((5, 3))),
            ValueError,
            "NaN or infinity in row 3",
        ),
        (np.full((5, 3), np.inf), ValueError, "NaN or infinity in row 0"),
        (np.ones(5), ValueError, r"shape \(n_samples, n_features\), got \(5,\)"),
        (np.ones((5, 1)), ValueError, "R.p with p >= 2, got n_features = 1"),
        (np.ones((0, 3)), ValueError, "n_samples = 0 must be at least 1"),
        (np.ones((5, 3), dtype=complex), ValueError, "must be real, got complex128"),
        (torch.ones(5, 3, dtype=torch.complex64), ValueError, "must be real, got torch.complex64"),
        (torch.ones(5, 3).to_sparse(), TypeError, "must be dense, got a tensor of layout"),
        ([["a", "b"]] * 5, ValueError, "X must hold numbers"),
    ],
    ids=lambda value: None,
)
def test_what_is_refused(estimator: Any, x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"{type(estimator).__name__}: .*{message}"):
        again(estimator).fit(x)


@each_estimator
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"init": "best"}, ValueError, "init must be one of k-means"),
        ({"init": np.eye(4)}, ValueError, r"init must have shape \(n, n_features\) = \(3, 4\)"),
        ({"n_init": 0}, ValueError, "n_init must be at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, "max_iter must be an integer, got 1.5"),
        ({"tol": -1}, ValueError, "tol must be .*>= 0, got -1"),
        ({"tol": "small"}, TypeError, "tol must be a number"),
        ({"normalize": 1}, TypeError, "normalize must be True or False"),
        ({"learning_decay": 2}, ValueError, r"learning_decay must be in \[0, 1\], got 2"),
        ({"learning_offset": 0}, ValueError, "learning_offset must be at least 1, got 0"),
        ({"random_state": "x"}, TypeError, "random_state must be None, an integer"),
        ({"distributed": True}, RuntimeError, "distributed=True needs torch.distributed"),
    ],
    ids=lambda value: None,
)
def test_bad_arguments(estimator: Any, changes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"{type(estimator).__name__}: {message}"):
        again(estimator, **changes).fit(X)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"assignment": "fuzzy"}, ValueError, "assignment must be one of soft, hard, got 'fuzzy'"),
        ({"concentration": "equal"}, ValueError, "concentration must be one of free, tied"),
        ({"concentration": -1.0}, ValueError, "concentration must be finite and >= 0, got -1"),
        ({"concentration_prior": -1.0}, ValueError, "concentration_prior must be finite and >= 0"),
        ({"n_components": 0}, ValueError, "n_components must be at least 1, got 0"),
    ],
    ids=lambda value: None,
)
def test_bad_arguments_of_mixtures(changes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"VonMisesFisherMixture: {message}"):
        VonMisesFisherMixture(**changes).fit(X)


@each_estimator
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            np.ones(3),
            r"sample_weight must have shape \(150,\) for X of shape \(150, 4\), got \(3,\)",
        ),
        (-np.ones(150), "sample_weight must be finite and >= 0"),
        (np.full(150, np.nan), "sample_weight must be finite and >= 0"),
        (np.zeros(150), "sample_weight must not be zero everywhere"),
    ],
    ids=lambda value: None,
)
def test_bad_weights(estimator: Any, weights: Any, message: str) -> None:
    for fit in (again(estimator).fit, again(estimator).partial_fit):
        with pytest.raises(ValueError, match=message):
            fit(X, sample_weight=weights)


@each_estimator
def test_another_width_than_that_of_the_fit(estimator: Any) -> None:
    fit = again(estimator).fit(X)
    for call in (fit.predict, fit.score, fit.partial_fit):
        with pytest.raises(ValueError, match=r"X has 3 features, but \w+ is expecting 4 features"):
            call(X[:, :3])


def test_integers_are_read_as_float64() -> None:
    x, kind = points("owner", np.arange(1, 7).reshape(2, 3))
    assert kind.dtype == torch.float64 and not x.is_floating_point()
    fit = SphericalKMeans(2, random_state=0).fit(np.arange(1, 7).reshape(2, 3))
    assert fit.cluster_centers_.dtype == np.float64
