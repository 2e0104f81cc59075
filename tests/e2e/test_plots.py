"""`dvc plots show` in a real browser without a network: the curves are drawn, and nothing is asked of another host."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium drives the browser; pip install '.[test]'")
from worlds.browser import CHROMIUM, DRIVER

from compodiff.stages.beginning import begin_project

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser here; apt-get install chromium chromium-driver"
)


def test_the_plots_of_a_project_are_drawn_offline(chromium, tmp_path):
    begin_project(tmp_path / "mine", "own")
    curves = tmp_path / "mine" / "artifacts" / "curves"
    curves.mkdir(parents=True)
    for name in ("prior", "composed"):
        (curves / f"{name}.csv").write_text("step,loss,recall_at_10\n0,3.0,0.1\n50,2.0,0.2\n100,1.5,0.15\n")
    dvc = shutil.which("dvc", path=str(Path(sys.executable).parent))
    assert dvc
    subprocess.run([dvc, "plots", "show", "-o", "shown"], cwd=tmp_path / "mine", check=True, capture_output=True)
    page = tmp_path / "mine" / "shown" / "index.html"
    assert "<script src" not in page.read_text()
    chromium.get(page.as_uri())
    lines = chromium.execute_script("return [...document.querySelectorAll('.line')].map((each) => each.points.length)")
    assert lines == [3, 3, 3, 3]
    assert [each for each in chromium.get_log("browser") if each["level"] == "SEVERE"] == []
