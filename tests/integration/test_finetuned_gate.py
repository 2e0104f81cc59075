"""A fine-tuned model is scored beside the one that it began as, registered, and let through by its own gate alone."""

import json
import shutil
from pathlib import Path

import pytest
from factories import make_benchmark_gate
from worlds.benchmark import EVALUATION, SAMPLING, make_world

from compodiff.encoders import Encoder
from compodiff.errors import EncoderMismatch, InputInvalid, PromotionRefused
from compodiff.model.dials import FILE as DIALS
from compodiff.search.locate import find_model_parts
from compodiff.stages.finetuned import FinetunedScores, register_finetuned
from compodiff.tracking.promotion import promote
from compodiff.tracking.registry import CHALLENGER, FINETUNED, find_version_at
from compodiff.tracking.store import open_store

# MLflow's use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning")

ENOUGH = 5


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder) -> Path:
    """A project with artifacts/ as the stages leave it, and a folder as fine-tuning leaves it before it is scored."""
    root = tmp_path_factory.mktemp("project")
    world = make_world(root / "made", tiny_encoder)
    artifacts = root / "artifacts"
    shutil.copytree(world.benchmark, artifacts / "benchmarks" / "emoji")
    shutil.copytree(world.embeddings, artifacts / "benchmark_embeddings" / "emoji")
    shutil.copytree(world.index, artifacts / "index")
    shutil.copytree(world.composed, artifacts / "composed")
    shutil.copy(world.composed.parent / DIALS, artifacts)
    tuned = artifacts / "finetuned" / "mine"
    for part in ("composed", "encoder"):
        shutil.copytree(getattr(world, part), tuned / part)
    shutil.copy(world.composed.parent / DIALS, tuned)
    (tuned / "curve.csv").write_text("step\n")
    (root / "params.yaml").write_text("data: {}\n")
    shutil.rmtree(root / "made")
    return root


@pytest.fixture
def project(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = Path(shutil.copytree(begun, tmp_path / "project"))
    monkeypatch.chdir(root)
    return root


def tuned_of(project: Path) -> Path:
    return project / "artifacts" / "finetuned" / "mine"


def score(project: Path) -> dict[str, dict[str, object]]:
    scores = FinetunedScores(project / "artifacts", ["emoji"], EVALUATION, SAMPLING)
    tuned = tuned_of(project)
    return scores.score(tuned, project / "artifacts" / "composed", tuned / "encoder")


def test_it_is_scored_beside_the_model_that_it_began_as(project: Path) -> None:
    figures = score(project)
    assert {"before", "composed", "sum"} <= figures["emoji"].keys()
    assert figures["emoji"]["before"] == figures["emoji"]["composed"], "the same weights and the same dials"
    written = json.loads((tuned_of(project) / "metrics" / "emoji.json").read_text())
    assert written["record"]["weights_digest"].keys() == {"before", "composed"}
    assert (tuned_of(project) / "reports" / "emoji" / "report.html").is_file()


def test_it_passes_or_is_refused_by_its_own_gate_and_by_no_other(project: Path) -> None:
    score(project)
    version = register_finetuned(project, tuned_of(project))
    challenger = find_version_at(open_store(project), CHALLENGER)
    assert challenger is not None
    assert (challenger.number, challenger.made_by) == (version.number, FINETUNED)
    open_gate, shut_gate = ({"emoji": make_benchmark_gate(floor=floor)} for floor in (0.0, 1.0))
    with pytest.raises(PromotionRefused) as refused:
        promote(project, open_gate, finetuned_gates=shut_gate, min_relation_queries=ENOUGH)
    assert "\n" not in str(refused.value)
    assert "version 1 of compodiff is not promoted: emoji/composed/recall_at_10 may be as low as" in str(refused.value)
    gates = {"fashioniq": make_benchmark_gate()}
    with pytest.raises(PromotionRefused, match="benchmark fashioniq was not measured"):
        promote(project, open_gate, finetuned_gates=gates, min_relation_queries=ENOUGH)
    assert promote(project, shut_gate, finetuned_gates=open_gate, min_relation_queries=ENOUGH).made
    register_finetuned(project, tuned_of(project))  # the same again: no query comes out otherwise
    with pytest.raises(PromotionRefused, match=r"beyond doubt \(emoji/composed/recall_at_10 at least \+0\.000\)"):
        promote(project, shut_gate, finetuned_gates=open_gate, min_relation_queries=ENOUGH)
    for name in ("models:/compodiff@champion", "models:/compodiff/1"):
        parts = find_model_parts(name)
        assert (parts.composed / "model.safetensors").is_file()
        assert (parts.index / "manifest.json").is_file()
    with pytest.raises(InputInvalid, match="no version of compodiff is 7"):
        find_model_parts("models:/compodiff/7")
    with pytest.raises(InputInvalid, match=r"models:/other/1 is no model of this project; its models are models:/comp"):
        find_model_parts("models:/other/1")


def test_what_cannot_be_registered_is_one_line(project: Path) -> None:
    with pytest.raises(InputInvalid, match=r"mine holds no figures of a benchmark; run compodiff finetune without"):
        register_finetuned(project, tuned_of(project))
    with pytest.raises(InputInvalid, match="nothing/composed holds no model"):
        register_finetuned(project, project / "nothing")
    score(project)
    shutil.rmtree(project / "artifacts" / "index")
    with pytest.raises(InputInvalid, match=r"index is not there; run: dvc repro build_index"):
        register_finetuned(project, tuned_of(project))


def test_a_benchmark_that_cannot_be_asked_is_found_before_training(project: Path) -> None:
    artifacts = project / "artifacts"
    scores = FinetunedScores(artifacts, ["emoji"], EVALUATION, SAMPLING)
    scores.require_benchmarks(artifacts / "composed")
    manifest = artifacts / "benchmark_embeddings" / "emoji" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"name": "another"}))
    with pytest.raises(EncoderMismatch):
        scores.require_benchmarks(artifacts / "composed")
    shutil.rmtree(artifacts / "benchmark_embeddings" / "emoji")
    with pytest.raises(InputInvalid, match=r"is not embedded; run: dvc repro embed_benchmark@emoji, or leave it out"):
        scores.require_benchmarks(artifacts / "composed")
