"""Models that are tried beside the one that is served, and what is kept of the queries."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compodiff.encoders.reranking import Reranking
    from compodiff.serving.live_watch import LiveWatch


@dataclass(frozen=True)
class Trial:
    """What is tried, and on how much; nothing by default.

    Attributes:
        shadow: a model that is asked a share of the queries when the server is idle; "" for none. What comes of it, or
            of a canary, also goes to the decision log, where it is a version of the registry.
        canary: a model that answers a share of the clients; "" for none.
        share: of queries or clients, for either.
        log: file of JSON lines on both; "-" for stdout, "" for none.
        keep_queries: file for embeddings of queries; None for none.
    """

    shadow: str = ""
    canary: str = ""
    share: float = 0.0
    log: str = ""
    keep_queries: Path | None = None

    def open(self, index: Path | None, reranking: "Reranking | None" = None) -> "LiveWatch":
        """Open what was asked for, over the index that is served, with what looks at the champion's answers again.

        Raises:
            CompoDiffError: a model cannot be opened, or the log cannot be written.
        """
        from compodiff.drift.reservoir import QueryReservoir
        from compodiff.serving.canary import Canary
        from compodiff.serving.champion import Champion
        from compodiff.serving.json_log import open_json_log
        from compodiff.serving.live_watch import LiveWatch
        from compodiff.serving.places import find_places
        from compodiff.serving.shadow import Shadow
        from compodiff.serving.verdicts import choose_record
        from compodiff.tracking.decision_log import SHADOWED, WITHDRAWN

        log = open_json_log("compodiff.trial", self.log) if self.log else None

        def open_model(model: str) -> Champion:
            return Champion(lambda: find_places(model, index), reranking)

        shadow, canary = (open_model(model) if model else None for model in (self.shadow, self.canary))
        return LiveWatch(
            shadow=Shadow(shadow, self.share, log, choose_record(self.shadow, SHADOWED)) if shadow else None,
            canary=Canary(canary, self.share, log, record=choose_record(self.canary, WITHDRAWN)) if canary else None,
            kept=QueryReservoir(self.keep_queries) if self.keep_queries else None,
        )
