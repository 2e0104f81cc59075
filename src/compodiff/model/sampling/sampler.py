"""From a query to the embedding of the picture it asks for: guided sampling of x0 (arXiv 2303.11916, section 4.3).

Every mode is a choice of conditions: text only (also the prior's mode), reference only, both, negative text, mask.
A query's noise comes from a generator of its own, so its answer depends on neither its neighbours nor the batch size.
Legend: B queries, S draws, D embedding width.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from compodiff.errors import InputInvalid
from compodiff.model.network.composing import ComposingNetwork
from compodiff.model.network.context import NULL, ContextRows
from compodiff.model.sampling.captured import Captured, pays
from compodiff.model.sampling.edits import EditConditions
from compodiff.model.sampling.guidance import list_branches
from compodiff.model.sampling.process import Process
from compodiff.model.sampling.query import Conditions, SamplerOptions
from compodiff.model.sampling.schedule import CLEAN, make_legacy_grid, make_trailing_grid
from compodiff.model.sampling.solvers import Ddim, DpmSolver, LegacyDdim, Noise, Solver, UniPc

Predict = Callable[[Tensor, float], Tensor]


def make_generators(generator: torch.Generator, queries: int) -> list[torch.Generator]:
    """Return one generator a query, seeded in turn from `generator`: the first k do not depend on how many follow."""
    seeds = [int(torch.randint(2**62, (), generator=generator)) for _ in range(queries)]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def compose(
    denoiser: ComposingNetwork,
    conditions: Conditions,
    options: SamplerOptions,
    generator: torch.Generator | Sequence[torch.Generator],
    process: Process,
) -> Tensor:
    """Return the composed embeddings: the mean over the draws. As `compose_draws`, -> (B, D)."""
    return compose_draws(denoiser, conditions, options, generator, process).mean(1)


@torch.inference_mode()
def compose_draws(
    denoiser: ComposingNetwork,
    conditions: Conditions,
    options: SamplerOptions,
    generator: torch.Generator | Sequence[torch.Generator],
    process: Process,
    on_step: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Sample every query's draws, to be averaged or to have their scores fused.

    Args:
        denoiser: its precision is that of its weights; x_t and the solver stay float32.
        conditions: of B queries.
        options: how to sample.
        generator: one a query, or one that seeds them in turn; on the CPU.
        process: the objective that the denoiser was trained for (from its model card).
        on_step: given x_t and the network's estimate of x0, (B * S, D) as it sees them, after every call.

    Returns:
        (B, S, D) raw embeddings, float32, not normalised; (B, S, D + K) where `conditions` have K class dimensions.

    Raises:
        InputInvalid: conditions that do not fit each other or the network.
    """
    conditions.require()
    generators = _give_one_each(generator, len(conditions))
    shape = options.draws, denoiser.config.embedding_dim
    predict = guide(denoiser, conditions, options, call_timesteps(options, process))

    def predict_and_report(x_t: Tensor, timestep: float) -> Tensor:
        x0 = predict(x_t, timestep)
        if on_step is not None:
            on_step(x_t, x0)
        return x0

    def draw_noise() -> Tensor:
        return torch.cat([torch.randn(shape, generator=each) for each in generators]).to(denoiser.device)

    x0 = sample(predict_and_report, options, process, draw_noise)
    answers = denoiser.restore(x0).view(len(conditions), *shape)
    answers = _mix_in_reference(answers, conditions, options)
    if conditions.classes is not None:
        answers = conditions.classes.complete(answers, options.classes)
    return answers if conditions.edits is None else _answer_edits(answers, conditions.edits, conditions, options)


def _give_one_each(generator: torch.Generator | Sequence[torch.Generator], queries: int) -> Sequence[torch.Generator]:
    generators = make_generators(generator, queries) if isinstance(generator, torch.Generator) else generator
    if len(generators) != queries:
        raise InputInvalid(f"{len(generators)} generators for {queries} queries; give one each")
    return generators


def guide(
    denoiser: ComposingNetwork, conditions: Conditions, options: SamplerOptions, timesteps: Sequence[float] = ()
) -> Predict:
    """Return the guided network (eq. 4) as a function of x_t (B * S, D) and the timestep, which gives x0 (B * S, D).

    The conditions are projected here, once, and so are the `timesteps` that will be asked for, where they are known.
    """
    has_text, has_image = conditions.text is not None, conditions.image is not None
    chosen = list_branches(w_image=options.w_image, w_text=options.w_text, has_text=has_text, has_image=has_image)
    texts = conditions.null_text if conditions.text is None else conditions.text + conditions.null_text
    each = torch.arange(len(conditions))
    null_text = len(texts) - len(conditions.null_text) + each.clamp(max=len(conditions.null_text) - 1)
    no_image = torch.full_like(each, NULL)
    image = each if conditions.has_image is None else torch.where(conditions.has_image.cpu(), each, NULL)
    rows = ContextRows(
        text=torch.cat([each if branch.text else null_text for branch in chosen]),
        image=torch.cat([image if branch.image else no_image for branch in chosen]),
        mask=torch.cat([no_image if conditions.mask is None else each] * len(chosen)),
    )
    uses = options.num_inference_steps * options.draws
    context = denoiser.prepare_context(texts, conditions.image, conditions.mask, rows, uses)
    coefficients = torch.tensor([branch.coefficient for branch in chosen], device=denoiser.device)

    known = denoiser.embed_time(torch.tensor(timesteps, device=coefficients.device))[:, None]
    times = dict(zip(timesteps, known, strict=True))

    def call(x_t: Tensor, time: Tensor) -> Tensor:
        x0: Tensor = denoiser(x_t.repeat(len(chosen), 1), time, context)
        return (coefficients[:, None, None] * x0.view(len(chosen), *x_t.shape)).sum(0)

    asked = len(conditions) * options.draws * len(chosen)
    repeated = Captured(call) if pays(denoiser.device, len(timesteps), asked) else call

    def predict(x_t: Tensor, timestep: float) -> Tensor:
        if timestep in times:
            return repeated(x_t, times[timestep])
        return call(x_t, torch.tensor([timestep], device=x_t.device))

    return predict


def sample(predict: Predict, options: SamplerOptions, process: Process, noise: Noise) -> Tensor:
    """Run the solver. predict: (x_t, timestep) -> x0; noise: a fresh (N, D) standard normal each call -> x0 (N, D)."""
    calls = call_timesteps(options, process)
    if process.objective == "regression":
        return predict(torch.zeros_like(noise()), calls[0])
    x = noise()
    if process.objective == "flow_matching":
        return _integrate_flow(predict, calls, x)
    solver = _make_solver(options, process, noise)
    for timestep, following in pairwise([*map(int, calls), CLEAN]):
        x = solver.step(x, predict(x, timestep), timestep, following)
    return x


def call_timesteps(options: SamplerOptions, process: Process) -> list[float]:
    """Return where `sample` calls the network, in order: num_inference_steps timesteps, or one for a regressor.

    Raises:
        InputInvalid: more steps than the process has timesteps.
    """
    steps, last = options.num_inference_steps, process.num_train_timesteps
    if process.objective == "regression":
        return [last - 1]
    if process.objective == "flow_matching":
        return [last * (steps - index) / steps for index in range(steps)]
    return [*(make_legacy_grid if options.grid == "legacy" else make_trailing_grid)(steps, last)]


def _make_solver(options: SamplerOptions, process: Process, noise: Noise) -> Solver:
    schedule = process.schedule
    if options.grid == "legacy":
        return LegacyDdim(schedule, noise)
    if options.solver == "dpm_solver":
        return DpmSolver(schedule)
    if options.solver == "unipc":
        return UniPc(schedule)
    return Ddim(schedule, options.eta, noise)


def _integrate_flow(predict: Predict, calls: Sequence[float], x: Tensor) -> Tensor:
    """Step by Euler from u = 1 to 0 along the velocity (x_u - x0) / u, u = timestep / T (arXiv 2210.02747)."""
    for timestep, following in pairwise([*calls, 0.0]):
        x = torch.lerp(predict(x, timestep), x, following / timestep)
    return x


def _answer_edits(answers: Tensor, edits: EditConditions, conditions: Conditions, options: SamplerOptions) -> Tensor:
    """Answer what asks for an edit of the whole picture by what the edit does. answers: (B, S, D + K)."""
    classes, unlike = conditions.classes, None
    if classes is not None and options.classes is not None:
        unlike = classes.find_unlike(options.classes)
    unlike = torch.zeros_like(edits.asked) if unlike is None else unlike.to(edits.asked.device)
    weights = {"w_image": options.w_image, "w_text": options.w_text, "mixing": options.reference_mixing}
    return edits.answer(answers, unlike, **weights)


def _mix_in_reference(answers: Tensor, conditions: Conditions, options: SamplerOptions) -> Tensor:
    """Mix in the reference. answers: (B, S, D); the share depends on whether the query masks anything."""
    if conditions.image is None:
        return answers
    reference = conditions.image.to(answers)
    share = torch.full((len(answers),), options.reference_mixing, device=answers.device)
    if conditions.mask is not None:
        share[conditions.mask.flatten(1).any(1).to(answers.device)] = options.masked_reference_mixing
    if conditions.has_image is not None:
        share = share * conditions.has_image.to(share)
    return torch.lerp(answers, reference[:, None].expand_as(answers), share[:, None, None])
