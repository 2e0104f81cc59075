"""Batches as a pure function of (seed, step): a resumed run and a run on more processes see the same rows and noise.

Legend: B rows of a microbatch, N noisy embeddings a row, D embedding width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from compodiff.embeddings.set_arrays import STORED
from compodiff.embeddings.token_arrays import TextTokens, join_tokens
from compodiff.errors import InputInvalid
from compodiff.images.mask_cells import MASK_SIZE
from compodiff.machine import count_usable_cores
from compodiff.model.network.context import NULL, ContextRows, PackedText
from compodiff.model.sampling.process import Process
from compodiff.params import TrainingParams
from compodiff.training.batch import Batch
from compodiff.training.examples import IMAGE, MASK, NOTHING, NULL_TEXT, TARGET, TEXT, Mixture, Rows
from compodiff.training.mining import NegativeMiner
from compodiff.training.stand_ins import CaptionStandIns

Key = TypeVar("Key")
_READERS = 4
SET = 4  # the column after those of the examples: which set a row is of


@dataclass(frozen=True)
class BatchPlan:
    """What a step is made of, before anything is read.

    Attributes:
        rows: (B, 5) TEXT, IMAGE, MASK, TARGET, SET after dropout.
        partners: (B, 5) the example that each row is mixed with; itself for the tasks that are not mixed.
        share: (B, 1) the row's own share in the mixture.
        others: (O, 2) images that are wrong answers: number of the set, image.
    """

    rows: Rows
    partners: Rows
    share: NDArray[np.float32]
    others: Rows


@dataclass(frozen=True)
class _Slot:
    """One task of one set.

    Attributes:
        number: of the set.
        table: (n, 4) its examples.
        count: rows of a batch that are drawn from it.
        starts: (relations + 1,) of triplets, where each relation begins; none for the other tasks.
        chances: (relations,) cumulative, of each relation.
        negatives: (n, H) wrong answers to each triplet.
        miner: of triplets, finds more of them; None where none are looked for.
    """

    number: int
    table: Rows
    count: int
    starts: Rows
    chances: NDArray[np.float64]
    negatives: Rows
    miner: NegativeMiner | None

    def draw(self, rng: Generator) -> tuple[Rows, Rows, Rows]:
        """Draw rows (count, 5), the partners they may be mixed with (count, 5), and their wrong answers (k, 2)."""
        if not len(self.starts):
            drawn = rng.integers(len(self.table), size=self.count)
            rows = self._take_rows(drawn)
            return rows, rows.copy(), np.empty((0, 2), np.int64)
        relation = np.searchsorted(self.chances, rng.random(self.count), side="right")
        first, sizes = self.starts[relation], self.starts[relation + 1] - self.starts[relation]
        drawn = first + (rng.random(self.count) * sizes).astype(np.int64)
        partners = first + (rng.random(self.count) * sizes).astype(np.int64)
        return self._take_rows(drawn), self._take_rows(partners), self._find_wrong_answers(drawn)

    def draw_targets(self, rng: Generator, count: int) -> Rows:
        """Draw target pictures: (count, 2) number of the set, image."""
        images = self.table[rng.integers(len(self.table), size=count), TARGET]
        return np.stack([np.full(count, self.number), images], axis=1)

    def _take_rows(self, drawn: Rows) -> Rows:
        return np.concatenate([self.table[drawn], np.full((len(drawn), 1), self.number)], axis=1)

    def _find_wrong_answers(self, drawn: Rows) -> Rows:
        given = self.negatives[drawn].reshape(-1)
        mined = [] if self.miner is None else [self.miner.find(self.table[drawn, TARGET])]
        images = np.concatenate([given[given != NOTHING], *mined])
        return np.stack([np.full(len(images), self.number), images], axis=1)


class Batches:
    """Draws each step's examples with replacement, in the shares of tasks and sets."""

    def __init__(self, mixture: Mixture, params: TrainingParams, process: Process) -> None:
        """Check that each share has examples.

        Raises:
            InputInvalid: one has none.
        """
        self._mixture, self._params, self._process = mixture, params, process
        self._stand_ins = [CaptionStandIns(of_set) for of_set in mixture.sets]
        self._slots = list_slots(mixture, params)
        shares = {str(number): float(slot.count) for number, slot in enumerate(self._slots)}
        total = sum(shares.values())
        self._negatives = divide_rows(
            params.contrastive_negatives, {name: count / total for name, count in shares.items()}
        )

    @property
    def readers(self) -> int:
        """How many threads read for a GPU, which takes a step faster than one reads; a text tower serves one alone."""
        computes = any(of_set.embeddings.kept != STORED for of_set in self._mixture.sets)
        return 1 if computes else min(_READERS, max(1, count_usable_cores() - 1))

    def make_microbatches(self, step: int, *, rank: int, world_size: int) -> list[Batch]:
        """The batches that process `rank` of `world_size` accumulates in `step`."""
        params = self._params
        rng = np.random.default_rng([params.seed, step])
        plan = self.draw_plan(rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        shape = (params.batch_size, params.noise_draws)
        noise = torch.randn((*shape, self._mixture.embedding_dim), generator=generator)
        timestep = self._draw_timesteps(noise.shape[:2].numel(), generator).view(shape)
        others = torch.from_numpy(self._read_images(plan.others, self._params.learns_from == "captions"))
        parts = np.split(np.arange(params.batch_size), world_size * params.accumulation_steps)
        mine = parts[rank * params.accumulation_steps :][: params.accumulation_steps]
        return [
            self._read(plan, part, torch.cat((others, self._read_rest(plan, part))), noise[part], timestep[part])
            for part in mine
        ]

    def draw_plan(self, rng: Generator) -> BatchPlan:
        """Draw examples of every slot and drop conditions; the shuffle gives each process a share of every task."""
        size = self._params.batch_size
        drawn = [slot.draw(rng) for slot in self._slots]
        rows, partners, wrong = (np.concatenate(each) for each in zip(*drawn, strict=True))
        counts = self._negatives.values()
        pool = [slot.draw_targets(rng, count) for slot, count in zip(self._slots, counts, strict=True)]
        share = self._draw_shares(rng)
        rows[rng.random(size) < self._params.condition_dropout, TEXT] = NULL_TEXT
        rows[rng.random(size) < self._params.condition_dropout, IMAGE] = NOTHING
        order = rng.permutation(size)
        return BatchPlan(rows[order], partners[order], share[order], np.concatenate([*pool, wrong]))

    def _draw_timesteps(self, count: int, generator: torch.Generator) -> Tensor:
        """Timesteps as the process draws them, but for the share that is pure noise. -> (count,)."""
        timesteps = self._process.draw_timesteps(count, generator)
        is_pure = torch.rand(count, generator=generator) < self._params.pure_noise_share
        return timesteps.masked_fill(is_pure, find_noisiest(self._process))

    def _draw_shares(self, rng: Generator) -> NDArray[np.float32]:
        concentration, size = self._params.mixup_concentration, (self._params.batch_size, 1)
        if concentration == 0:
            return np.ones(size, dtype=np.float32)
        return rng.beta(concentration, concentration, size).astype(np.float32)

    def _read_rest(self, plan: BatchPlan, part: Rows) -> Tensor:
        """Read the wrong answers that a microbatch takes from the rest of its batch, references and targets: (r, D).

        With them its rows are contrasted with the whole batch, however many processes and microbatches share that.
        """
        rest = np.setdiff1d(np.arange(len(plan.rows)), part)
        if self._params.contrastive_weight == 0 or not len(rest):
            return torch.empty(0, self._mixture.embedding_dim)
        return torch.from_numpy(np.concatenate(self._read_pictures(plan, rest)))

    def _read_pictures(self, plan: BatchPlan, part: Rows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read the references (R, D) of the rows that have one, and the targets (B, D) of all."""
        rows, partners, share = plan.rows[part], plan.partners[part], plan.share[part]
        has_image = rows[:, IMAGE] != NOTHING
        wordy, wordy_target = self._params.learns_from == "captions", self._params.learns_from != "pictures"
        images = self._read_images(rows[has_image][:, [SET, IMAGE]], wordy)
        target = self._read_images(rows[:, [SET, TARGET]], wordy_target)
        if self._params.mixup_concentration > 0:
            own = share[has_image]
            images = own * images + (1 - own) * self._read_images(partners[has_image][:, [SET, IMAGE]], wordy)
            target = share * target + (1 - share) * self._read_images(partners[:, [SET, TARGET]], wordy_target)
        return images, target

    def _read(self, plan: BatchPlan, part: Rows, others: Tensor, noise: Tensor, timestep: Tensor) -> Batch:
        rows = plan.rows[part]
        texts, text = np.unique(rows[:, [SET, TEXT]], axis=0, return_inverse=True)  # (U, 2), ordered by set; (B,)
        has_image, has_mask = rows[:, IMAGE] != NOTHING, rows[:, MASK] != NOTHING
        images, target = self._read_pictures(plan, part)
        return Batch(
            texts=PackedText.of_arrays(self._read_tokens(texts)),
            images=torch.from_numpy(images),
            masks=torch.from_numpy(self._read_masks(rows[has_mask][:, [SET, MASK]])),
            rows=ContextRows(torch.from_numpy(text.reshape(-1)), _find_positions(has_image), _find_positions(has_mask)),
            target=torch.from_numpy(target),
            others=others,
            noise=noise,
            timestep=timestep,
        )

    def _read_images(self, places: Rows, by_captions: bool) -> NDArray[np.float32]:
        """Embeddings of images, or of their captions. places: (U, 2) number of the set, image -> (U, D)."""
        images = np.empty((len(places), self._mixture.embedding_dim), dtype=np.float32)
        for number, of_set in enumerate(self._mixture.sets):
            own = places[:, 0] == number
            read = self._stand_ins[number].read if by_captions else of_set.embeddings.read_images
            images[own] = read(places[own, 1])
        return images

    def _read_masks(self, places: Rows) -> NDArray[np.bool_]:
        """Masks. places: (M, 2) number of the set, mask -> (M, 64, 64)."""
        masks = np.empty((len(places), MASK_SIZE, MASK_SIZE), dtype=np.bool_)
        for number, of_set in enumerate(self._mixture.sets):
            own = places[:, 0] == number
            masks[own] = of_set.embeddings.read_masks(places[own, 1])
        return masks

    def _read_tokens(self, texts: Rows) -> TextTokens:
        """Tokens of texts end to end, (sum L, D_k) of each text part, and lengths (U,). texts: (U, 2), by set."""
        of_sets = [
            of_set.embeddings.read_tokens(texts[texts[:, 0] == number, 1])
            for number, of_set in enumerate(self._mixture.sets)
        ]
        read = [own for own in of_sets if len(own[0].lengths)]
        return read[0] if len(read) == 1 else join_tokens(read)


def list_slots(mixture: Mixture, params: TrainingParams) -> list[_Slot]:
    """Return the tasks of sets that have a share in a batch, in the order in which they are drawn.

    Raises:
        InputInvalid: one of them has no example.
    """
    numbers = {of_set.name: number for number, of_set in enumerate(mixture.sets)}
    shares = {(task, name): share for task, own in mixture.shares.items() for name, share in own.items()}
    slots = []
    for (task, name), count in divide_rows(params.batch_size, shares).items():
        if count == 0:
            continue
        of_set = mixture.sets[numbers[name]]
        table, starts, negatives = of_set.open_table(task), np.empty(0, np.int64), np.empty((0, 0), np.int64)
        if not len(table):
            raise InputInvalid(f"no example of the set {name} trains the task {task}; take it out of params.yaml")
        if task == "triplet":
            starts, negatives = of_set.relation_starts, of_set.negatives
        chances = compute_relation_chances(starts, params.relation_exponent)
        mines = task == "triplet" and params.contrastive_mined > 0
        miner = NegativeMiner(of_set, params.contrastive_mined) if mines else None
        slots.append(_Slot(numbers[name], table, count, starts, chances, negatives, miner))
    return slots


def _find_positions(present: NDArray[np.bool_]) -> Tensor:
    """Where each row stands among those present, NULL for the absent. present: (B,) -> (B,)."""
    return torch.from_numpy(np.where(present, np.cumsum(present) - 1, NULL))


def find_noisiest(process: Process) -> int:
    """The timestep at which nothing is left of x0, where every sampler starts."""
    return process.num_train_timesteps - (process.objective != "flow_matching")


def divide_rows(total: int, shares: Mapping[Key, float]) -> dict[Key, int]:
    """Divide `total` rows in the proportion of `shares` (largest remainders), so that the counts add up to it."""
    counts = {key: int(share * total) for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: counts[key] - shares[key] * total)
    for key in by_remainder[: total - sum(counts.values())]:
        counts[key] += 1
    return counts


def compute_relation_chances(relation_starts: Rows, exponent: float) -> NDArray[np.float64]:
    """Cumulative chances of the relations: a triplet is drawn in proportion to count(relation)^exponent.

    relation_starts: (relations + 1,) -> (relations,); none where there are no relations.
    """
    sizes = np.diff(relation_starts).astype(np.float64)
    weights = sizes ** (exponent + 1)
    chances: NDArray[np.float64] = np.cumsum(weights) / weights.sum() if len(weights) else weights
    chances[-1:] = 1.0  # whatever rounding made of it: every draw below 1 finds a relation
    return chances
