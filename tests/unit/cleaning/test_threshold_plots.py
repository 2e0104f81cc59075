import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from compodiff.cleaning.threshold_plots import plot_thresholds, tabulate_acceptance
from compodiff.pairs.similarity import judge
from compodiff.params import SimilarityFloors

NAMES = list(SimilarityFloors.model_fields)


def judged(seed: int, rows: int = 40) -> tuple[pd.DataFrame, SimilarityFloors]:
    generator = np.random.default_rng(seed)
    scores = pd.DataFrame(generator.uniform(-0.2, 1, (rows, len(NAMES))).round(4).astype(np.float32), columns=NAMES)
    scores.loc[generator.random(rows) < 0.1, "keyword_image"] = np.nan
    floors = SimilarityFloors(**dict(zip(NAMES, generator.uniform(-0.2, 0.4, len(NAMES)).round(2), strict=True)))
    return scores.assign(accepted=judge(scores, floors) == ""), floors


@given(st.integers(0, 1000), st.sampled_from(NAMES), st.floats(-1, 1))
@settings(max_examples=50, deadline=None)
def test_the_curve_says_what_the_filters_would_keep(seed, name, floor):
    rows, floors = judged(seed)
    (point,) = tabulate_acceptance(rows, floors, name, np.array([floor])).to_dict("records")
    moved = floors.model_copy(update={name: floor})
    assert point["together"] == pytest.approx((judge(rows[NAMES], moved) == "").mean())
    assert point["alone"] == pytest.approx((~(rows[name] < np.float32(floor))).mean())


def test_every_filter_gets_a_picture_and_the_same_rows_the_same_bytes(tmp_path):
    rows, floors = judged(3)
    paths = plot_thresholds(rows, floors, tmp_path / "one")
    assert [path.name for path in paths] == [f"{name}.png" for name in NAMES]
    for path, again in zip(paths, plot_thresholds(rows, floors, tmp_path / "two"), strict=True):
        assert path.read_bytes() == again.read_bytes()
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            assert picture.size == (704, 572)
            assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 20
