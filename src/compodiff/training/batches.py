"""Batches as a pure function of (seed, step): a resumed run and a run on more processes see the same rows and noise.

Legend: B rows of a microbatch, N noisy embeddings a row, D embedding width.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from compodiff.embeddings import Embeddings
from compodiff.errors import InputInvalid
from compodiff.model.network.context import NULL, ContextRows, PackedText
from compodiff.model.sampling.process import Process
from compodiff.params import TrainingParams
from compodiff.training.examples import IMAGE, MASK, NOTHING, TARGET, TEXT, Rows, TrainingExamples

NULL_TEXT = 0  # the row of the empty text


@dataclass(frozen=True)
class Batch:
    """Rows of all tasks.

    Attributes:
        texts: the distinct texts of the rows.
        images: (R, D) embeddings of the references; null references are left out.
        masks: (M, 64, 64) True where the picture is to be replaced; rows without a mask are left out.
        rows: which text, image and mask each of the B rows has.
        target: (B, D) x0, as the encoder makes it.
        others: (O, D) pictures of the training split, the same for every process: wrong answers to learn from.
        noise: (B, N, D) standard normal.
        timestep: (B, N) how noisy each is.
    """

    texts: PackedText
    images: Tensor
    masks: Tensor
    rows: ContextRows
    target: Tensor
    others: Tensor
    noise: Tensor
    timestep: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        return Batch(
            texts=PackedText(self.texts.tokens.to(device), self.texts.lengths.to(device)),
            images=self.images.to(device),
            masks=self.masks.to(device),
            rows=ContextRows(self.rows.text.to(device), self.rows.image.to(device), self.rows.mask.to(device)),
            target=self.target.to(device),
            others=self.others.to(device),
            noise=self.noise.to(device),
            timestep=self.timestep.to(device),
        )


@dataclass(frozen=True)
class _Plan:
    """What a step is made of, before anything is read.

    Attributes:
        rows: (B, 4) TEXT, IMAGE, MASK, TARGET after dropout.
        partners: (B, 4) the example that each row is mixed with; itself for the tasks that are not mixed.
        share: (B, 1) the row's own share in the mixture.
    """

    rows: Rows
    partners: Rows
    share: NDArray[np.float32]


class Batches:
    """Draws each step's examples with replacement, in the tasks' shares."""

    def __init__(
        self, embeddings: Embeddings, examples: TrainingExamples, params: TrainingParams, process: Process
    ) -> None:
        """Check that each task with a share has examples.

        Raises:
            InputInvalid: one has none.
        """
        self._embeddings, self._examples, self._params, self._process = embeddings, examples, params, process
        self._counts = divide_rows(params.batch_size, params.tasks.model_dump())
        for task, count in self._counts.items():
            if count and not len(getattr(examples, task)):
                raise InputInvalid(f"no example trains the task {task}; set its share in params.yaml to 0")
        self._pictures = np.unique(examples.text_to_image[:, TARGET])
        self._triplet_chances = compute_triplet_chances(examples.relation_starts, params.relation_exponent)

    def make_microbatches(self, step: int, *, rank: int, world_size: int) -> list[Batch]:
        """The batches that process `rank` of `world_size` accumulates in `step`."""
        params = self._params
        rng = np.random.default_rng([params.seed, step])
        plan = self._draw(rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        shape = (params.batch_size, params.noise_draws)
        noise = torch.randn((*shape, self._embeddings.pictures.shape[1]), generator=generator)
        timestep = self._draw_timesteps(noise.shape[:2].numel(), generator).view(shape)
        others = torch.from_numpy(self._read_images(rng.choice(self._pictures, params.contrastive_negatives)))
        parts = np.split(np.arange(params.batch_size), world_size * params.accumulation_steps)
        mine = parts[rank * params.accumulation_steps :][: params.accumulation_steps]
        return [self._read(plan, part, others, noise[part], timestep[part]) for part in mine]

    def _draw(self, rng: Generator) -> _Plan:
        """Draw examples of every task and drop conditions; the shuffle gives each process a share of every task."""
        examples, counts, size = self._examples, self._counts, self._params.batch_size
        captioned = rng.integers(max(1, len(examples.text_to_image)), size=counts["text_to_image"])
        masked = rng.integers(max(1, len(examples.masked)), size=counts["masked"])
        drawn = np.searchsorted(self._triplet_chances, rng.random(counts["triplet"]), side="right")
        first = [examples.text_to_image[captioned], examples.masked[masked]]
        rows = np.concatenate([*first, examples.triplet[drawn]])
        partners = np.concatenate([*first, examples.triplet[self._draw_partners(drawn, rng)]])
        share = self._read_shares(rng)
        rows[rng.random(size) < self._params.condition_dropout, TEXT] = NULL_TEXT
        rows[rng.random(size) < self._params.condition_dropout, IMAGE] = NOTHING
        order = rng.permutation(size)
        return _Plan(rows[order], partners[order], share[order])

    def _draw_timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        """Timesteps as the process draws them, but for the share that is pure noise. -> (count,)."""
        timesteps = self._process.draw_timesteps(count, generator)
        is_pure = torch.rand(count, generator=generator) < self._params.pure_noise_share
        return timesteps.masked_fill(is_pure, find_noisiest(self._process))

    def _draw_partners(self, drawn: Rows, rng: Generator) -> Rows:
        """For each drawn triplet another one of its relation."""
        starts = self._examples.relation_starts
        relation = np.searchsorted(starts, drawn, side="right") - 1
        sizes = starts[relation + 1] - starts[relation]
        return starts[relation] + (rng.random(len(drawn)) * sizes).astype(np.int64)

    def _read_shares(self, rng: Generator) -> NDArray[np.float32]:
        concentration, size = self._params.mixup_concentration, (self._params.batch_size, 1)
        if concentration == 0:
            return np.ones(size, dtype=np.float32)
        return rng.beta(concentration, concentration, size).astype(np.float32)

    def _read(self, plan: _Plan, part: Rows, others: Tensor, noise: Tensor, timestep: Tensor) -> Batch:
        rows, partners, share = plan.rows[part], plan.partners[part], plan.share[part]
        texts, text = np.unique(rows[:, TEXT], return_inverse=True)
        has_image, has_mask = rows[:, IMAGE] != NOTHING, rows[:, MASK] != NOTHING
        images, target = self._read_images(rows[has_image, IMAGE]), self._read_images(rows[:, TARGET])
        if self._params.mixup_concentration > 0:
            own = share[has_image]
            images = own * images + (1 - own) * self._read_images(partners[has_image, IMAGE])
            target = share * target + (1 - share) * self._read_images(partners[:, TARGET])
        tokens, lengths = self._embeddings.read_tokens(texts)
        return Batch(
            texts=PackedText(torch.as_tensor(tokens).float(), torch.as_tensor(lengths)),
            images=torch.from_numpy(images),
            masks=torch.from_numpy(self._embeddings.read_masks(rows[has_mask, MASK])),
            rows=ContextRows(torch.from_numpy(text), _find_positions(has_image), _find_positions(has_mask)),
            target=torch.from_numpy(target),
            others=others,
            noise=noise,
            timestep=timestep,
        )

    def _read_images(self, rows: Rows) -> NDArray[np.float32]:
        """Embeddings of pictures; rows beyond them are masked pictures. rows: (U,) -> (U, D)."""
        embeddings = self._embeddings
        pictures = len(embeddings.pictures)
        whole = rows < pictures
        images = np.empty((len(rows), embeddings.pictures.shape[1]), dtype=np.float32)
        images[whole] = embeddings.pictures[rows[whole]]
        images[~whole] = embeddings.masked[rows[~whole] - pictures]
        return images


def _find_positions(present: NDArray[np.bool_]) -> Tensor:
    """Where each row stands among those present, NULL for the absent. present: (B,) -> (B,)."""
    return torch.from_numpy(np.where(present, np.cumsum(present) - 1, NULL))


def find_noisiest(process: Process) -> int:
    """The timestep at which nothing is left of x0, where every sampler starts."""
    return process.num_train_timesteps - (process.objective != "flow_matching")


def divide_rows(total: int, shares: dict[str, float]) -> dict[str, int]:
    """Divide `total` rows in the proportion of `shares` (largest remainders), so that the counts add up to it."""
    counts = {task: int(share * total) for task, share in shares.items()}
    by_remainder = sorted(shares, key=lambda task: counts[task] - shares[task] * total)
    for task in by_remainder[: total - sum(counts.values())]:
        counts[task] += 1
    return counts


def compute_triplet_chances(relation_starts: Rows, exponent: float) -> NDArray[np.float64]:
    """Cumulative chances of the triplets, each in proportion to the number of its relation's to the `exponent`."""
    sizes = np.diff(relation_starts).astype(np.float64)
    weights = np.repeat(sizes**exponent, sizes.astype(np.int64))
    chances: NDArray[np.float64] = np.cumsum(weights) / weights.sum()
    chances[-1:] = 1.0  # whatever rounding made of it: every draw below 1 finds a triplet
    return chances
