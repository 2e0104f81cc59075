"""Whether few network calls need a distilled model, or only a training that starts where they start."""

from collections.abc import Iterator

from compodiff.experiments.outcome import Point
from compodiff.experiments.setup import Ground
from compodiff.experiments.training import all_data, stage_two

CALLS = (1, 2, 5, 10)


def distillation(ground: Ground) -> Iterator[Point]:
    """Stage 2 without extra training at pure noise, the same distilled, and with it; each by one to ten calls."""
    data, composed = all_data(ground), ground.params.composed
    plain = stage_two(ground, data, composed.model_copy(update={"pure_noise_share": 0.0}))
    models = {
        "plain": plain,
        "plain, distilled": stage_two(ground, data, ground.params.distillation, start=plain),
        "half at pure noise": stage_two(ground, data, composed.model_copy(update={"pure_noise_share": 0.5})),
    }
    for name, model in models.items():
        for calls in CALLS:
            asked = model.sampled(ground.sampling(solver="ddim", grid="trailing", eta=0.0, num_inference_steps=calls))
            yield Point({"model": name, "num_inference_steps": calls}, ground.bench.answer(asked, f"{name}, {calls}"))
