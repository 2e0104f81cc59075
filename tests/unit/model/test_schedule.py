"""Schedule, grids and guidance."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compodiff.errors import InputInvalid
from compodiff.model.sampling.guidance import combine, list_branches
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.schedule import CLEAN, make_cosine_schedule, make_legacy_grid, make_trailing_grid

weights = st.floats(0, 20)


def test_cosine_schedule_follows_its_equation() -> None:
    schedule = make_cosine_schedule(1000)

    def alpha_bar(step: int) -> float:
        return math.cos((step / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    for timestep in (0, 10, 500, 990):
        assert schedule.get_alpha_bar(timestep) == pytest.approx(alpha_bar(timestep + 1) / alpha_bar(0), rel=1e-9)
    # The last beta would be 1; it is clipped, so that a trace of x0 is left.
    assert schedule.get_alpha_bar(999) == pytest.approx(schedule.get_alpha_bar(998) * 0.001)
    # Clean is the place below timestep 0, to which solvers step down, and the only one where nothing is lost.
    assert schedule.get_alpha_bar(0 - 1) == schedule.get_alpha_bar(CLEAN) == 1
    assert all(schedule.get_alpha_bar(timestep) < 1 for timestep in range(1000))


@given(steps=st.integers(1, 1000))
def test_the_trailing_grid_makes_as_many_calls_as_steps_from_the_last_timestep_down(steps: int) -> None:
    grid = make_trailing_grid(steps, 1000)
    assert (len(grid), grid[0]) == (steps, 999)
    assert grid[-1] >= 0
    assert grid == sorted(set(grid), reverse=True)


def test_the_legacy_grid_is_the_released_one() -> None:
    # timesteps=10 in the released code: int(linspace(-1, 1000, 11)[:-1]) reversed, its last point being the clean end.
    assert make_legacy_grid(9, 1000) == [899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert make_legacy_grid(1, 1000) == [499]
    assert make_legacy_grid(999, 1000) == [*reversed(range(999))]  # the most that it has places for
    with pytest.raises(InputInvalid, match="num_inference_steps is 1000; take a number from 1 to 999"):
        make_legacy_grid(1000, 1000)


@pytest.mark.parametrize("grid", [make_trailing_grid, make_legacy_grid])
@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_grids_name_bad_steps(grid: object, steps: int) -> None:
    with pytest.raises(InputInvalid, match=f"num_inference_steps is {steps}; take a number from 1 to"):
        (make_trailing_grid if grid is make_trailing_grid else make_legacy_grid)(steps, 1000)


@given(w_image=weights, w_text=weights, has_text=st.booleans(), has_image=st.booleans())
def test_branches_give_the_papers_combination(w_image: float, w_text: float, has_text: bool, has_image: bool) -> None:
    answers = {(False, False): 2.0, (False, True): -3.0, (True, False): 5.0, (True, True): 7.0}
    null, image, both = (
        torch.tensor(answers[key]) for key in ((False, False), (False, has_image), (has_text, has_image))
    )
    chosen = list_branches(w_image=w_image, w_text=w_text, has_text=has_text, has_image=has_image)
    guided = sum(branch.coefficient * answers[branch.text, branch.image] for branch in chosen)
    assert guided == pytest.approx(float(combine(null, image, both, w_image=w_image, w_text=w_text)), abs=1e-4)


@pytest.mark.parametrize(
    ("w_image", "w_text", "has_text", "has_image", "calls"),
    [
        (1.5, 7.5, True, True, 3),
        (1, 1, True, True, 1),
        (0, 0, True, True, 1),
        (1.5, 1.5, True, True, 2),
        (1, 3, True, True, 2),
        (1.5, 7.5, True, False, 2),
        (1.5, 7.5, False, True, 2),
        (1, 1, True, False, 1),
    ],
)
def test_no_branch_is_computed_in_vain(
    w_image: float, w_text: float, has_text: bool, has_image: bool, calls: int
) -> None:
    assert len(list_branches(w_image=w_image, w_text=w_text, has_text=has_text, has_image=has_image)) == calls


@pytest.mark.parametrize("objective", ["diffusion", "flow_matching", "regression"])
def test_a_process_noises_from_clean_to_pure(objective: str) -> None:
    process = Process(objective, 1000)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    timestep = process.draw_timesteps(5000, generator)
    x0, noise = torch.full((5000, 1), 10.0), torch.randn(5000, 1, generator=generator)
    x_t = process.add_noise(x0, noise, timestep)
    if objective == "regression":
        assert torch.equal(timestep, torch.full((5000,), 999.0))
        assert not x_t.any()
        return
    assert timestep.min() < 5
    assert 990 < timestep.max() <= 1000
    torch.testing.assert_close(x_t[timestep < 20], x0[timestep < 20], atol=0.5, rtol=0)
    torch.testing.assert_close(x_t[timestep > 995], noise[timestep > 995], atol=0.2, rtol=0)
    assert x_t.dtype == torch.float32
