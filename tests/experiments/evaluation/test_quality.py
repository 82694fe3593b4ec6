"""FID, KID, the classifier that gives their features, and scores of walks."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from flowkernels.bases import StandardNormal
from flowkernels.bijections import Compose, Dequantize
from flowkernels.experiments.data import DataError, ImageDataset, load_dataset
from flowkernels.experiments.data.extras import MissingExtraError
from flowkernels.experiments.evaluation import (
    Classifier,
    Extractor,
    ImageQualities,
    ImageQuality,
    NearestImages,
    fixed_noise,
    inception,
    pairs_of,
    score,
    score_walks,
    trained_extractor,
    walk_images,
)
from flowkernels.experiments.evaluation.extractor import rotated
from flowkernels.experiments.evaluation.manifold import Manifold
from flowkernels.flows import Flow, glow


class Pixels(Extractor):
    """The pixels themselves, so that distances can be computed by hand."""

    num_features = 4
    label = "pixels"

    def __init__(self):
        super().__init__()
        self.unit = torch.nn.Parameter(torch.ones(()))

    def forward(self, images):
        return images.flatten(1) / 255


def levels(count, seed, high=256):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(high, (count, 1, 2, 2), dtype=torch.uint8, generator=generator)


def frechet(a, b):
    """By SciPy's square root of a matrix."""
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    gap = a.mean(0) - b.mean(0)
    return gap @ gap + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)


def kernel_distance(a, b):
    """The unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3."""

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    n, m = len(a), len(b)
    inner_a, inner_b = kernel(a, a), kernel(b, b)
    within = (inner_a.sum() - np.trace(inner_a)) / (n * (n - 1))
    within += (inner_b.sum() - np.trace(inner_b)) / (m * (m - 1))
    return within - 2 * kernel(a, b).mean()


def test_distances_match_their_definitions():
    real, fake = levels(200, 1), levels(200, 2, high=200)
    quality = ImageQuality(Pixels(), real, subset_size=1000, subsets=2)
    a, b = (images.flatten(1).double().numpy() / 255 for images in (real, fake))
    for part in fake.split(70):
        quality.update(part)
    result = quality.compute()
    assert result["fid"] == pytest.approx(frechet(a, b), rel=1e-5)
    # every subset is the whole set, so all are equal
    assert result["kid"] == pytest.approx(kernel_distance(a, b), rel=1e-5)
    assert result["kid_error"] < 1e-8
    # compute() resets: the same result again
    quality.update(fake)
    assert quality.compute() == pytest.approx(result, abs=1e-8)
    quality.update(real)
    assert quality.compute()["fid"] == pytest.approx(0, abs=1e-6)


def within(points, centres, neighbours=3):
    """The share of points within the balls around the centres, by definition."""
    inside = 0
    for point in points:
        for centre in centres:
            radius = np.sort(np.linalg.norm(centres - centre, axis=1))[neighbours]
            if np.linalg.norm(point - centre) <= radius:
                inside += 1
                break
    return inside / len(points)


def test_precision_and_recall_match_their_definitions():
    real, fake = levels(150, 1), levels(90, 2, high=150)
    a, b = (images.flatten(1).double().numpy() / 255 for images in (real, fake))
    quality = ImageQuality(Pixels(), real, subsets=1)
    quality.update(fake)
    result = quality.compute()
    assert result["precision"] == within(b, a)
    assert result["recall"] == within(a, b)
    assert 0 < result["recall"] < result["precision"] <= 1
    with pytest.raises(ValueError, match="more than 3 images for precision and recall, got 3"):
        Manifold(torch.zeros(3, 2))


def test_qualities_of_several_extractors():
    real, fake = levels(50, 1), levels(50, 2)
    each = {name: ImageQuality(Pixels(), real, subsets=1) for name in "ab"}
    both = ImageQualities(each)
    both.update(fake)
    result = both.compute()
    assert result["a"] == result["b"]
    each["a"].update(fake)
    assert each["a"].compute() == result["a"]


def test_quality_restores_the_random_state():
    quality = ImageQuality(Pixels(), levels(50, 1), subset_size=10)
    quality.update(levels(50, 2))
    before = torch.get_rng_state()
    quality.compute()
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture(scope="module")
def digits_classifier(tmp_path_factory):
    file = tmp_path_factory.mktemp("classifier") / "net.pt"
    return trained_extractor(load_dataset("digits"), file), file


def test_classifier_knows_the_digits(digits_classifier):
    net, file = digits_classifier
    digits = load_dataset("digits")
    assert net.accuracy > 0.9
    right = (net.logits(digits.test).argmax(1) == digits.test_labels).double().mean()
    assert float(right) == net.accuracy
    assert f"{net.accuracy:.1%}" in net.label
    assert net(digits.train).var(0).mean().item() == pytest.approx(1, rel=1e-4)
    again = trained_extractor(digits, file)
    assert again.accuracy == net.accuracy
    assert torch.equal(again(digits.test), net(digits.test))


def test_classifier_depends_only_on_the_data(digits_classifier, tmp_path):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    other = trained_extractor(load_dataset("digits"), tmp_path / "again.pt")
    assert torch.equal(before, torch.get_rng_state())
    for a, b in zip(other.parameters(), digits_classifier[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_classifier_of_other_images(digits_classifier):
    blank = torch.zeros(4, 1, 12, 12, dtype=torch.uint8)
    with pytest.raises(DataError, match="expected labels"):
        trained_extractor(ImageDataset("blank", blank, blank), digits_classifier[1])
    labels = torch.arange(4, dtype=torch.uint8)
    with pytest.raises(DataError, match="expected a classifier of these images"):
        trained_extractor(ImageDataset("blank", blank, blank, labels, labels), digits_classifier[1])


def test_rotations_are_told_without_labels(tmp_path):
    digits = load_dataset("digits")
    blind = ImageDataset("blind", digits.train, digits.test)
    net = trained_extractor(blind, tmp_path / "net.pt", task="rotations")
    assert net.classes == 4
    assert net.accuracy > 0.8
    assert "rotations" in net.label
    wide = torch.zeros(4, 1, 8, 12, dtype=torch.uint8)
    with pytest.raises(DataError, match="expected square images to tell rotations, got 8x12"):
        trained_extractor(ImageDataset("wide", wide, wide), tmp_path / "w.pt", task="rotations")


def test_rotated_images():
    images = torch.arange(1, 101).reshape(2, 2, 5, 5)
    turned, turns = rotated(images, torch.tensor([0, 3]))
    assert turns.tolist() == [0, 3]
    assert torch.equal(turned[0], images[0])
    assert torch.equal(turned[1], torch.rot90(images[1], 3, (1, 2)))


def test_inception_names_missing_requirements(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="weights of Inception"):
        inception(tmp_path / "none.pth")
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity", None)
    (tmp_path / "some.pth").touch()
    with pytest.raises(MissingExtraError, match="torch_fidelity"):
        inception(tmp_path / "some.pth")


def test_nearest_images():
    known, given = levels(9000, 1), levels(20, 2)
    expected = torch.cdist(given.flatten(1).double(), known.flatten(1).double()).amin(1) / 255 / 2
    torch.testing.assert_close(NearestImages(known)(given).double(), expected, rtol=1e-5, atol=1e-7)
    assert NearestImages(known)(known[-3:]).tolist() == [0, 0, 0]


def test_pairs_are_disjoint_and_repeat():
    images = torch.arange(100).reshape(-1, 1, 1, 1)
    a, b = pairs_of(images, 50)
    assert torch.cat([a, b]).flatten().sort().values.tolist() == list(range(100))
    assert torch.equal(a, pairs_of(images, 50)[0])
    assert not torch.equal(a, pairs_of(images, 50, seed=1)[0])
    with pytest.raises(ValueError, match="at most 50 pairs, got 51"):
        pairs_of(images, 51)


def test_walk_of_an_identity_flow_is_a_blend():
    flow = Flow(
        Compose([Flatten()]), StandardNormal(4), event_shape=(1, 2, 2), dequantize=Dequantize()
    )
    a, b = levels(30, 1), levels(30, 2)
    scores = score_walks(flow.eval(), (a, b), path="linear", points=5, nearest=NearestImages(a))
    # up to rounding to levels
    assert scores["length"] == pytest.approx(1, abs=0.01)
    assert scores["roughness"] == pytest.approx(1, abs=0.03)
    images, latents = walk_images(flow, a, b, 5, "linear")
    assert torch.equal(images[:, 0], a.float())
    assert torch.equal(images[:, -1], b.float())
    assert scores["nearest"] == pytest.approx(float(NearestImages(a)(images[:, 2]).mean()))
    assert scores["middle_norm"] == pytest.approx(latents[:, 2].norm(dim=-1).tolist())
    assert len(scores["end_norm"]) == 60
    kept = []
    score(lambda x: kept.append(flow.bits_per_dim(x)) or kept[-1], [images.flatten(0, 1)])
    bits = kept[0].reshape(30, 5).double()
    assert scores["profile"] == pytest.approx(bits.mean(0).tolist())
    assert scores["bpd"] == pytest.approx(float(bits[:, 1:-1].mean()))
    error = float(bits[:, 1:-1].mean(1).std() / 30**0.5)
    assert scores["standard_error"] == pytest.approx(error)
    with pytest.raises(ValueError, match="points: expected at least 3, got 2"):
        score_walks(flow, (a, b), points=2)


class Flatten(torch.nn.Module):
    """Pixels as a vector."""

    reversible = False

    def forward(self, x):
        return x.flatten(1), x.new_zeros(len(x))

    def inverse(self, z):
        return z.reshape(-1, 1, 2, 2), z.new_zeros(len(z))


def test_walks_in_batches_with_quality_and_progress():
    with fixed_noise(0):
        flow = glow((1, 8, 8), levels=1, steps=1, hidden=4, base="vmf").eval()
    test = load_dataset("digits").test
    a, b = pairs_of(test, 150)
    quality = ImageQuality(Classifier((1, 8, 8), 10), test)
    done = []
    scores = score_walks(flow, (a, b), points=3, quality=quality, on_batch=done.append)
    assert sum(done) == 3 * 150
    assert scores["fid"] > 0
    assert math.isfinite(scores["kid"])
    again = score_walks(flow, (a, b), points=3, quality=quality)
    assert again == scores
