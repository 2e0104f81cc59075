"""Promotion and rollback over a real registry; versions here have figures, and an empty folder for their files."""

import getpass
import json
import os
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from worlds.promotions import ENOUGH, GATES, aliases, decide, decisions, register

from compodiff.errors import InputInvalid, PromotionRefused
from compodiff.serving.verdicts import choose_record
from compodiff.tracking.decision_log import DECISIONS, SHADOWED, WITHDRAWN, Decision, settle_aliases
from compodiff.tracking.decision_log import decide as taken
from compodiff.tracking.promotion import ChampionChange, promote, roll_back
from compodiff.tracking.registry import CHAMPION, MODEL, PREVIOUS
from compodiff.tracking.store import open_store
from compodiff.tracking.version_files import find_model_folder


def test_the_first_champion_needs_only_the_floor_and_each_next_one_must_beat_it(project: Path) -> None:
    with pytest.raises(InputInvalid, match=r"is challenger; run: .*--single-item --force register"):
        decide(project)
    register(project, 0.3)
    with pytest.raises(PromotionRefused, match=r"version 1 .* 0\.250, below the floor of 0\.400"):
        decide(project)
    assert aliases(project) == {CHAMPION: None, PREVIOUS: None}

    register(project, 0.5, style=0.4)
    assert decide(project) == ChampionChange(None, "2")
    assert decide(project) == ChampionChange("2", "2")
    register(project, 0.505, style=0.4)
    with pytest.raises(PromotionRefused, match=r"0\.505, which does not beat the champion's 0\.500 by 0\.010"):
        decide(project)
    register(project, 0.6, style=0.2)
    with pytest.raises(PromotionRefused, match=r"style/recall_at_10 falls from 0\.400 to 0\.200"):
        decide(project)
    register(project, 0.6, style=0.35)
    assert decide(project) == ChampionChange("2", "5")
    assert aliases(project) == {CHAMPION: "5", PREVIOUS: "2"}


def test_each_decision_is_recorded_with_who_when_from_to_figures_and_reasons(project: Path) -> None:
    register(project, 0.5)
    decide(project)
    register(project, 0.45)
    with pytest.raises(PromotionRefused):
        decide(project)
    made, refused = (each.tags for each in decisions(project))
    assert {key: made[key] for key in ("verdict", "about", "from", "to", "after", "reasons")} == {
        "verdict": "promoted", "about": "1", "from": "none", "to": "1", "after": "0", "reasons": "none",
    }  # fmt: skip
    assert made["by"] == f"{getpass.getuser()}@{socket.gethostname()}"
    assert datetime.now(UTC) - datetime.fromisoformat(made["at"]) < timedelta(minutes=1)
    assert made["figures"] == "emoji/composed/recall_at_10 0.5000 (version 1)"
    assert (refused["verdict"], refused["from"], refused["to"], refused["after"]) == ("refused", "1", "1", "1")
    assert "does not beat the champion's 0.500" in refused["reasons"]
    assert "emoji/composed/recall_at_10 0.4500 (version 2)" in refused["figures"]


def test_a_user_without_a_name_decides_under_its_number(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    register(project, 0.5)
    decide(project)
    assert decisions(project)[0].tags["by"].startswith(f"{2**31 - 7}@")


def test_the_record_is_also_a_file_and_a_tag_of_the_version(project: Path) -> None:
    register(project, 0.5)
    decide(project)
    (decision,) = decisions(project)
    client = open_store(project).client
    kept = Path(client.download_artifacts(decision.run_id, "decision.json"))
    written = json.loads(kept.read_text())
    assert (written["verdict"], written["to"]) == ("promoted", "1")
    assert written["figures"] == {"1": {"emoji/composed/recall_at_10": 0.5}}
    assert client.get_model_version(MODEL, "1").tags["decision"].endswith(", decision 1")


def test_rollback_goes_back_and_can_itself_be_rolled_back(project: Path) -> None:
    register(project, 0.5)
    decide(project)
    with pytest.raises(InputInvalid, match="no previous champion"):
        roll_back(project)
    register(project, 0.6)
    decide(project)
    assert roll_back(project) == ChampionChange("2", "1")
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: "2"}
    assert roll_back(project) == ChampionChange("1", "2")
    assert not roll_back(project, instead_of="1").made
    with pytest.raises(InputInvalid, match="there is no version 99 of compodiff; 2 is champion"):
        roll_back(project, instead_of="99")


def test_two_promotions_at_once_make_one_change(project: Path) -> None:
    register(project, 0.5)
    with ThreadPoolExecutor(2) as both:
        changes = list(both.map(decide, [project, project]))
    assert sorted(change.made for change in changes) == [False, True]
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: None}


def test_what_was_rolled_back_from_is_not_promoted_again(project: Path) -> None:
    for recall in (0.5, 0.6):
        register(project, recall)
        decide(project)
    roll_back(project, "answers in the wrong style")
    assert decisions(project)[-1].tags["reasons"] == "answers in the wrong style"
    asked = list[object]()
    with pytest.raises(PromotionRefused, match="it was rolled back from or withdrawn; register another"):
        promote(project, GATES, min_relation_queries=ENOUGH, examine=lambda *them: asked.extend(them) or [])
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: "2"}
    assert asked == []  # whose answers would change nothing


def test_what_comes_of_a_trial_is_decided_too_and_a_withdrawn_canary_is_not_promoted(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(project)
    register(project, 0.5)
    decide(project)
    register(project, 0.6)
    place = "models:/compodiff@challenger"
    choose_record(place, SHADOWED)("compodiff version 2", "4 live queries, 0 failed", {"shadow/overlap": 0.75})
    choose_record(place, WITHDRAWN)("compodiff version 2", "3 of 9 queries failed", {"canary/failed": 3.0})
    _, shadowed, withdrawn = (each.tags for each in decisions(project))
    assert (shadowed["verdict"], shadowed["about"], shadowed["to"]) == ("shadowed", "2", "1")
    assert shadowed["figures"] == "shadow/overlap 0.7500 (version 2)"
    assert (withdrawn["verdict"], withdrawn["reasons"]) == ("withdrawn", "3 of 9 queries failed")
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: None}
    with pytest.raises(PromotionRefused, match="withdrawn; register another"):
        decide(project)
    choose_record(str(project), WITHDRAWN)("a folder", "slow", {})
    assert len(decisions(project)) == 4
    choose_record(place, WITHDRAWN)("compodiff version 9", "slow", {})  # which MLflow does not have
    assert "version 9 is withdrawn (slow), which the decision log does not have" in caplog.text
    assert len(decisions(project)) == 4


def test_aliases_moved_by_hand_follow_the_decisions_again(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    register(project, 0.5)
    decide(project)
    register(project, 0.3)
    open_store(project).client.set_registered_model_alias(MODEL, CHAMPION, "2")
    with pytest.raises(PromotionRefused):
        decide(project)
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: None}
    assert "did not follow decision 1" in caplog.text


def test_a_deleted_champion_is_no_obstacle_and_settled_once(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    for recall in (0.5, 0.6):
        register(project, recall)
        decide(project)
    open_store(project).client.delete_model_version(MODEL, "2")
    with pytest.raises(InputInvalid, match="is champion; run: compodiff rollback, which goes back to the champion"):
        find_model_folder(project)
    register(project, 0.45)
    assert decide(project) == ChampionChange(None, "3")
    assert aliases(project) == {CHAMPION: "3", PREVIOUS: "1"}
    assert decide(project) == ChampionChange("3", "3")
    assert roll_back(project) == ChampionChange("3", "1")
    assert "did not follow" not in caplog.text


def test_a_deleted_champion_is_rolled_back_from_to_what_is_there(project: Path) -> None:
    for recall in (0.5, 0.6, 0.7):
        register(project, recall)
        decide(project)
    client = open_store(project).client
    client.delete_model_version(MODEL, "3")
    assert roll_back(project) == ChampionChange(None, "2")
    assert aliases(project) == {CHAMPION: "2", PREVIOUS: None}
    with pytest.raises(InputInvalid, match=r"is challenger; run: .*--single-item --force register"):
        decide(project)  # the challenger was version 3
    client.delete_model_version(MODEL, "2")
    with pytest.raises(InputInvalid, match="no previous champion"):
        roll_back(project)


@pytest.mark.parametrize("cut", ["1", "2", "3", "all"])
def test_a_log_that_lost_a_decision_says_who_is_champion(
    project: Path, cut: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Decision 3 is a refusal; the last of a log leaves no gap, but its version's tag names it."""
    for recall in (0.5, 0.6, 0.3):
        register(project, recall)
        with suppress(PromotionRefused):
            decide(project)
    client = open_store(project).client
    if cut == "all":
        client.delete_registered_model(DECISIONS)
    else:
        client.delete_model_version(DECISIONS, cut)
    standing = settle_aliases(open_store(project))
    assert (standing.champion, standing.previous) == ("2", "1")
    assert ("is gone from compodiff-decisions" in caplog.text) == (cut in ("3", "all"))
    assert roll_back(project) == ChampionChange("2", "1")
    assert aliases(project) == {CHAMPION: "1", PREVIOUS: "2"}


def test_figures_that_are_gone_are_named_with_the_way_out(project: Path) -> None:
    register(project, 0.5)
    store = open_store(project)
    (version,) = store.client.search_model_versions(f"name = '{MODEL}'")
    with closing(sqlite3.connect(project / "mlruns" / "mlflow.db")) as database, database:  # as `mlflow gc` does
        for table in ("latest_metrics", "metrics", "runs"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (version.run_id,))  # noqa: S608
    with pytest.raises(InputInvalid, match=r"figures of compodiff version 1, is gone .* or delete that version there"):
        decide(project)


def test_an_experiment_deleted_in_mlflow_is_restored_with_its_runs(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register(project, 0.5)
    store = open_store(project)
    store.client.delete_experiment(store.experiment_id)
    assert decide(project) == ChampionChange(None, "1")
    assert caplog.text.count("was deleted in MLflow; it is restored, with its runs") == 1
    assert len(store.client.search_runs([store.experiment_id])) == 2


def test_of_two_decisions_taken_after_the_same_one_only_the_first_counts(project: Path) -> None:
    """As from two machines that share a server: no lock file holds them apart."""
    store = open_store(project)
    register(project, 0.5)
    decide(project)
    for recall in (0.6, 0.7):
        register(project, recall)
    standing = settle_aliases(store)
    one, other = (Decision("promoted", "a", "now", number, number, "1", (), {}) for number in ("2", "3"))
    assert taken(store, project, standing, one)
    assert not taken(store, project, standing, other)
    assert aliases(project) == {CHAMPION: "2", PREVIOUS: "1"}
    assert decide(project) == ChampionChange("2", "3")
