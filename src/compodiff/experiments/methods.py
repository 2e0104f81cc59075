"""Every method of composed retrieval that `compodiff compare` knows: one function, or one change of params.yaml, each.

Those that are trained go through the pipeline's two stages, on its data, by its loss; what differs is `changes`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compodiff.benchmarks.answers import QueryArrays
from compodiff.benchmarks.baselines import add_weighted, multiply_scores
from compodiff.benchmarks.scoring.ranking import Similarity
from compodiff.benchmarks.scoring.vectors import Vectors
from compodiff.benchmarks.training_free import Corpora, answer_basic, interpolate_spherically
from compodiff.encoders import EncoderManifest
from compodiff.errors import InputInvalid
from compodiff.params import EvaluationParams, Params

NO_DIAL = (0.0,)
Changes = Mapping[str, Mapping[str, Any]]  # section of params.yaml -> key -> value


@dataclass(frozen=True)
class Question:
    """What a method without training is asked: the queries of one part, the gallery, and what is known of both."""

    asked: QueryArrays
    gallery: Vectors
    corpora: Corpora


Answer = tuple[Vectors, Similarity]  # the gallery as it is ranked, and what ranks it


@dataclass(frozen=True)
class FreeMethod:
    """A method without training.

    Attributes:
        source: where it is from.
        answer: makes the ranking of a question, by the value of the method's one dial.
        list_values: the values that are tried on validation queries.
        reads_texts: it needs texts in the pictures' space.
    """

    source: str
    answer: Callable[[Question, float], Answer]
    list_values: Callable[[EvaluationParams], Sequence[float]] = field(default=lambda _: NO_DIAL)
    reads_texts: bool = True


@dataclass(frozen=True)
class TrainedMethod:
    """A method that the pipeline's two stages train, under a few changes of params.yaml."""

    source: str
    changes: Changes

    @property
    def reads_texts(self) -> bool:
        """Whether it needs texts in the pictures' space."""
        return any("learns_from" in changes for changes in self.changes.values())

    def change(self, params: Params, seed: int) -> Params:
        """Return the params of this method, with seeds that lie `seed` beyond the pipeline's."""
        content = params.model_dump()
        for section, changes in self.changes.items():
            content[section] |= changes
        for section in ("prior", "composed"):
            content[section]["seed"] += seed
        if content["prior"]["learns_from"] == "captions":
            content["composed"]["tasks"] = _leave_out_masks(content["composed"]["tasks"])
        return Params.model_validate(content)


def _leave_out_masks(tasks: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Give the share of the masked pictures, which have no captions, to the other tasks in proportion."""
    left = 1 - sum(tasks["masked"].values())
    if left <= 0:
        raise InputInvalid("composed.tasks of params.yaml draws masked pictures alone; captions cannot stand for them")
    kept = {task: {name: share / left for name, share in own.items()} for task, own in tasks.items()}
    return kept | {"masked": {}}


def _train(**changes: Any) -> Changes:
    """Return the same changes of both stages."""
    return {"prior": changes, "composed": changes}


def _rank(make: Callable[[QueryArrays, float], Similarity]) -> Callable[[Question, float], Answer]:
    return lambda question, value: (question.gallery, make(question.asked, value))


FREE: Mapping[str, FreeMethod] = {
    "image_only": FreeMethod(
        "the reference's embedding", _rank(lambda asked, _: Similarity((asked.references,))), reads_texts=False
    ),
    "text_only": FreeMethod("the text's embedding", _rank(lambda asked, _: Similarity((asked.texts,)))),
    "sum": FreeMethod("weighted sum of both", _rank(add_weighted), lambda params: params.text_weights),
    "product": FreeMethod("product of both scores", _rank(multiply_scores), lambda params: params.product_offsets),
    "slerp": FreeMethod("arXiv 2405.00571", _rank(interpolate_spherically), lambda params: params.text_weights),
    "basic": FreeMethod(
        "BASIC, arXiv 2510.25387", lambda question, _: answer_basic(question.asked, question.gallery, question.corpora)
    ),
}
TRAINED: Mapping[str, TrainedMethod] = {
    "diffusion": TrainedMethod("CompoDiff, arXiv 2303.11916", _train(objective="diffusion")),
    "regression": TrainedMethod("the same network, asked once", _train(objective="regression")),
    "flow_matching": TrainedMethod("straight paths, arXiv 2210.02747", _train(objective="flow_matching")),
    "text_target": TrainedMethod(
        "FlowCIR, arXiv 2607.02284", _train(objective="flow_matching", learns_from="target_captions")
    ),
    "captions_only": TrainedMethod(
        "language alone, after LinCIR, arXiv 2312.01998", _train(objective="regression", learns_from="captions")
    ),
    "combiner": TrainedMethod("CLIP4Cir, arXiv 2308.11485", {"denoiser": {"network": "combiner"}}),
    "fine_tuned_sum": TrainedMethod(
        "BGE-VL, arXiv 2412.14475", {"denoiser": {"network": "sum"}, "composed": {"contrastive_mined": 4}}
    ),
}
METHODS: Mapping[str, FreeMethod | TrainedMethod] = {**TRAINED, **FREE}


def find_methods(names: Sequence[str]) -> dict[str, FreeMethod | TrainedMethod]:
    """Return methods by name, in this order; all where no name is given.

    Raises:
        InputInvalid: there is none of a name.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise InputInvalid(f"there is no method {unknown[0]!r}; choose from: {', '.join(METHODS)}")
    return {name: METHODS[name] for name in dict.fromkeys(names or METHODS)}


def choose_answerable(
    methods: Mapping[str, FreeMethod | TrainedMethod], encoder: EncoderManifest
) -> dict[str, FreeMethod | TrainedMethod]:
    """Return the methods that an encoder serves: all, or without a joint text part those that need none.

    Raises:
        InputInvalid: it serves none of them.
    """
    chosen = {name: method for name, method in methods.items() if encoder.joint is not None or not method.reads_texts}
    if not chosen:
        raise InputInvalid(f"{', '.join(methods)}: {encoder.explain_no_joint_text()}; name diffusion or image_only too")
    return chosen
