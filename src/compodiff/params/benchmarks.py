"""Sections of what models are scored on: benchmarks by name, each with the gate that a challenger has to pass."""

from typing import Annotated, Literal

from pydantic import Field

from compodiff.params.section import Section, Seed


class BenchmarkGate(Section):
    """What a challenger must show on one benchmark, of the composed model's figure."""

    figure: str = Field(description="a metric of the benchmark's protocol, such as recall_at_10 or map_at_5")
    floor: float = Field(ge=0, le=1, description="the lower end of the confidence interval must not be below it")
    margin: float = Field(ge=0, le=1, description="by how much the champion must be beaten")
    max_relation_drop: float = Field(ge=0, le=1, description="what any one relation may lose against the champion")
    max_plausible_loss: float = Field(
        ge=0,
        le=1,
        description="what may be lost at the lower end of the interval of the difference, taken query by query",
    )


class BenchmarkParams(Section):
    """What every benchmark says, whatever its recipe."""

    reads: str = Field(description="file or folder that the benchmark is made of, as DVC watches it")
    gate: BenchmarkGate | None = Field(description="null: it is measured and decides nothing")


class PromotionParams(Section):
    """What a challenger must show besides the gates of benchmarks."""

    behaviour: str | None = Field(description="file of cases that it must pass, beside params.yaml; null: none")


class EmojiBenchmarkParams(BenchmarkParams):
    """Queries of emoji concepts that training never sees; `reads: data`."""

    recipe: Literal["emoji"]
    seed: Seed
    max_queries_per_relation: int = Field(gt=0, description="in a split; concepts take turns")


class SceneQueries(Section):
    """Families of scenes in each split of the benchmark."""

    validation: int = Field(gt=0)
    test: int = Field(gt=0)


class ScenesBenchmarkParams(BenchmarkParams):
    """Edits of scenes of unseen concepts, all scenes of a family in the gallery; `reads: data`."""

    recipe: Literal["scenes"]
    seed: Seed
    families: SceneQueries
    edits_per_relation: int = Field(gt=0, description="of one base scene")


class ExactEditsBenchmarkParams(BenchmarkParams):
    """Exact edits of photographs that packages bring, all edits of each in the gallery; `reads: data`."""

    recipe: Literal["exact_edits"]
    seed: Seed
    validation_pictures: int = Field(gt=0, description="collages on which the dials of the baselines are chosen")


class FilesBenchmarkParams(BenchmarkParams):
    """A benchmark in files of its own, in a format that `compodiff benchmark` knows; `reads`: its annotations."""

    recipe: Literal["files"]
    format: str = Field(description="a name of `compodiff benchmark run --help`, such as cirr, genecis or triplets")
    root: str = Field(description="its folder")
    split: str = Field(description="that is scored")
    validation: str | None = Field(
        description="split on which the dials of the baselines are chosen; null: weight 0.5, offset 0"
    )


AnyBenchmarkParams = Annotated[
    EmojiBenchmarkParams | ScenesBenchmarkParams | ExactEditsBenchmarkParams | FilesBenchmarkParams,
    Field(discriminator="recipe"),
]
