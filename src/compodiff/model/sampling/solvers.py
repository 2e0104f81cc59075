"""Solvers: from x_t and the network's x0 to x at the next timestep.

Each is one update rule; its coefficients are plain float64 numbers, so that a step costs a few operations on (N, D)
tensors. The next timestep CLEAN always gives x0 itself.
Symbols: alpha, sigma = sqrt(alpha_bar), sqrt(1 - alpha_bar); lambda = log(alpha / sigma); h = lambda_next - lambda.
"""

import math
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from compodiff.model.sampling.schedule import CLEAN, Schedule

Noise = Callable[[], Tensor]


class Solver(Protocol):
    """One trajectory from noise to x0; a solver with memory is made anew for each."""

    def step(self, x_t: Tensor, x0: Tensor, timestep: int, following: int) -> Tensor:
        """Step to x at the timestep `following`. x_t, x0: (N, D) -> (N, D)."""
        ...


class Ddim:
    """DDIM (arXiv 2010.02502, eq. 12 and 16): eta 0 is deterministic, eta 1 as noisy as DDPM."""

    def __init__(self, schedule: Schedule, eta: float, noise: Noise) -> None:
        self.schedule, self.eta, self.noise = schedule, eta, noise

    def step(self, x_t: Tensor, x0: Tensor, timestep: int, following: int) -> Tensor:
        """See `Solver`."""
        if following == CLEAN:
            return x0
        alpha_bar, next_alpha_bar = self.schedule.get_alpha_bar(timestep), self.schedule.get_alpha_bar(following)
        predicted_noise = (x_t - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)
        spread = self.eta * math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar) * (1 - alpha_bar / next_alpha_bar))
        x = math.sqrt(next_alpha_bar) * x0 + math.sqrt(1 - next_alpha_bar - spread**2) * predicted_noise
        return x + spread * self.noise() if spread else x


class LegacyDdim:
    """The released sampler's DDIM with eta = 1, kept in all its quirks so that its weights behave as published.

    It recovers the noise with alpha_bar of the timestep but steps with that of the one before, and adds no noise on
    arriving at timestep 0.
    """

    def __init__(self, schedule: Schedule, noise: Noise) -> None:
        self.schedule, self.noise = schedule, noise

    def step(self, x_t: Tensor, x0: Tensor, timestep: int, following: int) -> Tensor:
        """See `Solver`."""
        if following == CLEAN:
            return x0
        alpha_bar = self.schedule.get_alpha_bar(timestep)
        predicted_noise = (x_t - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)
        before, next_before = self.schedule.get_alpha_bar(timestep - 1), self.schedule.get_alpha_bar(following - 1)
        spread = math.sqrt((1 - before / next_before) * (1 - next_before) / (1 - before))
        x = math.sqrt(next_before) * x0 + math.sqrt(1 - next_before - spread**2) * predicted_noise
        return x + spread * self.noise() if following > 0 else x


class DpmSolver:
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2): second order from the last two predictions of x0."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.last: tuple[float, Tensor] | None = None

    def step(self, x_t: Tensor, x0: Tensor, timestep: int, following: int) -> Tensor:
        """See `Solver`."""
        if following == CLEAN:
            return x0
        half, next_half = compute_half_log_snr(self.schedule, timestep), compute_half_log_snr(self.schedule, following)
        direction = x0
        if self.last is not None:
            last_half, last_x0 = self.last
            ratio = (half - last_half) / (next_half - half)
            direction = x0 + (x0 - last_x0) / (2 * ratio)
        self.last = half, x0
        return take_exponential_step(self.schedule, x_t, direction, timestep, following)


class UniPc:
    """UniPC of order 2, B(h) = e^h - 1 (arXiv 2302.04867, algorithms 5 to 8): DPM-Solver++ with a corrector.

    Each new x0 first corrects the step that led to it, then predicts the next one; no further network calls.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.history: list[tuple[int, Tensor]] = []
        self.departed: Tensor | None = None

    def step(self, x_t: Tensor, x0: Tensor, timestep: int, following: int) -> Tensor:
        """See `Solver`."""
        if following == CLEAN:
            return x0
        corrected = x_t if self.departed is None else self._correct(self.departed, x0, timestep)
        self.history = [*self.history[-1:], (timestep, x0)]
        self.departed = corrected
        x = take_exponential_step(self.schedule, corrected, x0, timestep, following)
        if len(self.history) == 1:
            return x
        return x + 0.5 * self._compute_gain(timestep, following) * self._compute_slope(x0, timestep, following)

    def _correct(self, departed: Tensor, x0: Tensor, timestep: int) -> Tensor:
        """Return the step from the last timestep to this one, taken again now that x0 here is known."""
        last, last_x0 = self.history[-1]
        x = take_exponential_step(self.schedule, departed, last_x0, last, timestep)
        gain, change = self._compute_gain(last, timestep), x0 - last_x0
        if len(self.history) == 1:
            return x + 0.5 * gain * change
        ratio = self._compute_ratio(last, timestep)
        step = compute_half_log_snr(self.schedule, timestep) - compute_half_log_snr(self.schedule, last)
        # rho_1 + rho_2 = b_1 and r rho_1 + rho_2 = b_2 with b_k = k! phi_{k+1}(-h) h / B(-h), B(-h) = e^-h - 1.
        phi = math.expm1(-step) / -step - 1
        first = phi / math.expm1(-step)
        second = 2 * (phi / -step - 0.5) / math.expm1(-step)
        rho_1 = (first - second) / (1 - ratio)
        return x + gain * (rho_1 * self._compute_slope(last_x0, last, timestep) + (first - rho_1) * change)

    def _compute_gain(self, timestep: int, following: int) -> float:
        """Return alpha_next (1 - e^-h)."""
        step = compute_half_log_snr(self.schedule, following) - compute_half_log_snr(self.schedule, timestep)
        return -math.sqrt(self.schedule.get_alpha_bar(following)) * math.expm1(-step)

    def _compute_ratio(self, timestep: int, following: int) -> float:
        """Return (lambda_before - lambda) / h, negative; `before` is the oldest prediction that is kept."""
        half = compute_half_log_snr(self.schedule, timestep)
        before = compute_half_log_snr(self.schedule, self.history[0][0])
        return (before - half) / (compute_half_log_snr(self.schedule, following) - half)

    def _compute_slope(self, x0: Tensor, timestep: int, following: int) -> Tensor:
        return (self.history[0][1] - x0) / self._compute_ratio(timestep, following)


def compute_half_log_snr(schedule: Schedule, timestep: int) -> float:
    """Return Lambda, half the logarithm of the signal-to-noise ratio."""
    alpha_bar = schedule.get_alpha_bar(timestep)
    return 0.5 * math.log(alpha_bar / (1 - alpha_bar))


def take_exponential_step(schedule: Schedule, x: Tensor, x0: Tensor, timestep: int, following: int) -> Tensor:
    """Return the exact solution where x0 is constant: sigma_next / sigma x + alpha_next (1 - e^-h) x0."""
    alpha_bar, next_alpha_bar = schedule.get_alpha_bar(timestep), schedule.get_alpha_bar(following)
    decay = math.sqrt((1 - next_alpha_bar) / (1 - alpha_bar))
    return decay * x + (math.sqrt(next_alpha_bar) - decay * math.sqrt(alpha_bar)) * x0
