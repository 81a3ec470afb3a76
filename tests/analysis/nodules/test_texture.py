"""Features of textures on nodules that are drawn, whatever the grid; a classifier that is its numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lungseg3d.analysis.nodules.texture import FEATURES, TEXTURES, TextureClassifier, texture_features


def drawn(spacing, inside_hu: float, core_hu: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """HU and mask of a ball of 6 mm radius, its core of 3 mm of another density, in lung of -850 HU beside a wall."""
    shape = np.ceil(30 / np.array(spacing)).astype(int)
    away = np.linalg.norm((np.indices(shape).T * spacing - 15).T, axis=0)
    hu = np.full(shape, -850.0)
    hu[: int(5 / spacing[0])] = 40.0  # the wall begins 4 mm from the ball
    hu[away <= 6] = inside_hu
    hu[away <= 3] = inside_hu if core_hu is None else core_hu
    return hu, away <= 6


def features(*arguments, spacing=(1.0, 1.0, 1.0), **more) -> dict[str, float]:
    hu, mask = drawn(spacing, *arguments, **more)
    return dict(zip(FEATURES, texture_features(hu, mask, spacing), strict=True))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.6, 0.6, 1.25)])
def test_features_say_what_was_drawn_on_every_grid(spacing):
    found = features(-600.0, 0.0, spacing=spacing)
    assert found["core_hu"] == pytest.approx(-60, abs=90)
    assert found["median_hu"] == pytest.approx(-600, abs=60)
    assert found["surrounding_hu"] == pytest.approx(-850, abs=30)
    assert found["log_volume_mm3"] == pytest.approx(np.log(4 / 3 * np.pi * 6**3), abs=0.05)
    assert 0.05 < found["share_above_minus_500_hu"] < 0.3


def test_denser_nodules_have_higher_features():
    glass, solid = features(-650.0), features(20.0)
    for name in ("median_hu", "percentile_90_hu", "percentile_97_hu", "core_hu", "share_above_minus_500_hu"):
        assert glass[name] < solid[name]
    assert glass["spread_hu"] < features(-600.0, 0.0)["spread_hu"]


def test_a_nodule_of_one_voxel_and_one_that_fills_the_image_have_features_and_none_has_not():
    hu, mask = drawn((1.0, 1.0, 1.0), 0.0)
    one = np.zeros_like(mask)
    one[15, 15, 15] = True
    assert np.isfinite(texture_features(hu, one, (1, 1, 1))).all()
    assert np.isfinite(texture_features(hu, np.ones_like(mask), (1, 1, 1))).all()
    with pytest.raises(ValueError, match="empty"):
        texture_features(hu, np.zeros_like(mask), (1, 1, 1))


def classifier() -> TextureClassifier:
    """By the core alone: -600 HU and less is ground glass, about -300 part-solid, 0 and more solid."""
    weights = np.zeros((3, 8))
    weights[:, FEATURES.index("core_hu")] = (-8.0, 0.0, 8.0)
    mean = np.zeros(8)
    mean[FEATURES.index("core_hu")] = -300.0
    return TextureClassifier(mean, np.full(8, 300.0), weights, np.array([0.0, 4.0, 0.0]))


@pytest.mark.parametrize(("hu", "texture"), [(-650.0, "ground-glass"), (-320.0, "part-solid"), (20.0, "solid")])
def test_the_most_probable_texture_is_named(hu, texture):
    values = texture_features(*drawn((1.0, 1.0, 1.0), hu), (1, 1, 1))
    shares = classifier().probabilities(values)
    assert shares.sum() == pytest.approx(1.0)
    assert classifier().texture(values) == texture == TEXTURES[shares.argmax()]


def test_a_classifier_is_read_from_the_numbers_that_it_writes():
    again = TextureClassifier.of(json.loads(json.dumps(classifier().plain())))
    values = texture_features(*drawn((1.0, 1.0, 1.0), -400.0), (1, 1, 1))
    np.testing.assert_array_equal(again.probabilities(values), classifier().probabilities(values))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("features", ["median_hu"]),
        ("textures", ["solid"]),
        ("mean", [0.0] * 7),
        ("weights", [[0.0] * 8] * 2),
        ("bias", [0.0, 0.0, float("nan")]),
        ("scale", [0.0] + [1.0] * 7),
    ],
)
def test_numbers_that_are_no_classifier_are_refused(key, value):
    with pytest.raises(ValueError, match="classifier of textures"):
        TextureClassifier.of({**classifier().plain(), key: value})
