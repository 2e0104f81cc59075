"""A search in the shell that a running server answers: the same answer as here, and none where the server is gone."""

import base64
import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import uvicorn
from factories import draw_box_mask
from PIL import Image
from worlds.command import run_command

from compodiff.errors import InputInvalid
from compodiff.search.located import locate_search
from compodiff.serving import asking
from compodiff.serving.api import create_app
from compodiff.serving.champion import Champion
from compodiff.serving.places import find_places
from compodiff.serving.records import ServerRecord, find_record, find_records_folder, remove_record, write_record

TOKEN = "secret"  # noqa: S105
GONE = 2**22 + 1  # a process that cannot be: beyond the largest id of Linux


@contextmanager
def serve(index):
    """A server over the project's model, with a token, in a thread; its record, which is not put down yet."""
    champion = Champion(lambda: find_places("artifacts", index))
    app = create_app(champion, token=TOKEN, refresh_seconds=600)
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    places, root = champion.live.places, champion.live.searcher.pictures.root
    yield ServerRecord(
        os.getpid(), f"http://127.0.0.1:{port}", TOKEN, places.identity, str(places.index.resolve()), str(root)
    )
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def server(search_project):
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(search_project)
        with serve(None) as record:
            yield record


@pytest.fixture
def records(tmp_path, monkeypatch, search_project):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(search_project)
    return tmp_path / "compodiff"


def search(*arguments):
    return json.loads(run_command("search", "--model", "artifacts", "--json", "-k", 7, *arguments).stdout)


@pytest.mark.parametrize(
    "asked",
    [
        ("--text", "circle"),
        ("--reference", "🔴", "--text", "make it blue", "--exclude", "twemoji-1F535", "--w-text", 2, "--seed", 5),
        ("--reference", "{picture}", "--reference", "twemoji-1F535", "--weight", 1, "--weight", 3, "--text", "a heart"),
        ("--reference", "{picture}", "--mask", "{mask}", "--text", "blue", "--filter", "style = 'twemoji'"),
    ],
)
def test_the_answer_of_a_server_is_the_answer_here(server, records, tmp_path, asked):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "picture.png")
    draw_box_mask((40, 40), (0, 0, 20, 40)).save(tmp_path / "mask.png")
    paths = {name: tmp_path / f"{name}.png" for name in ("picture", "mask")}
    arguments = [str(each).format(**paths) for each in asked]
    write_record(server)
    served, here = search(*arguments), search(*arguments, "--no-server")
    assert (served.pop("served_by"), here.pop("served_by")) == (server.address, None)
    assert served.pop("seconds").keys() == here.pop("seconds").keys()
    scores = [[hit.pop("score") for hit in answer["results"]] for answer in (served, here)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert served == here


@pytest.mark.parametrize("reference", ["🔴", "{picture}"])
def test_pictures_and_pages_of_a_served_answer_are_drawn_without_the_model(
    server, records, tmp_path, monkeypatch, reference
):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "picture.png")
    write_record(server)
    reference = reference.format(picture=tmp_path / "picture.png")
    asked = ("search", "--model", "artifacts", "--reference", reference, "--text", "in blue", "-k", 4, "--seed", 1)
    here = run_command(*asked, "--no-server", "--pictures", "kitty", "--html", tmp_path / "here.html").stdout
    monkeypatch.setattr("compodiff.cli.search._open", None)  # whoever opens a model here fails
    served = run_command(*asked, "--pictures", "kitty", "--html", tmp_path / "served.html").stdout
    tables, sheets = zip(*((out.partition("\x1b_G")[::2]) for out in (here, served)), strict=True)
    assert tables[0] == tables[1]
    drawn = [_read_kitty(sheet) for sheet in sheets]
    assert drawn[0].shape == drawn[1].shape
    assert np.abs(drawn[0].astype(int) - drawn[1]).mean() < 3  # thumbnails are small, and not without loss
    pages = [re.sub('src="[^"]*"', "", (tmp_path / f"{each}.html").read_text()) for each in ("here", "served")]
    assert pages[1].replace("picture.png", "reference") == pages[0]


def test_files_of_a_served_answer_go_to_xargs_and_its_page_to_the_browser(records, tmp_path, monkeypatch):
    album = tmp_path / "an album"
    album.mkdir()
    for name in ("red", "green", "dark blue"):
        Image.new("RGB", (40, 40), name.replace(" ", "")).save(album / f"{name}.png")
    run_command("index", "build", album, "--model", "artifacts")
    asked = ("search", "--model", "artifacts", "--index", album, "--text", "green", "--print0")
    here = run_command(*asked, "--no-server").stdout
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    with serve(album) as record:
        write_record(record)
        monkeypatch.setattr("compodiff.cli.search._open", None)  # whoever opens a model here fails
        served = run_command(*asked, "--open", "--html", tmp_path / "answer.html").stdout
    assert served == here
    assert sorted(served.split("\0")) == ["", *(str(album / f"{each}.png") for each in ("dark blue", "green", "red"))]
    assert opened == [(tmp_path / "answer.html").as_uri()]
    assert (tmp_path / "answer.html").read_text().count("<img") == 3


def test_files_inside_a_tar_are_refused_to_xargs_in_the_same_words(server, records):
    asked = ("search", "--model", "artifacts", "--text", "circle", "--print0")
    for is_served in (False, True):
        if is_served:
            write_record(server)
        with pytest.raises(InputInvalid, match=r"lies inside .*; --print0 needs the index of a folder of files"):
            run_command(*asked)


def _read_kitty(sheet):
    content = "".join(re.findall(r"m=[01];([^\x1b]*)\x1b", sheet))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def test_a_server_that_is_still_indexing_says_so_beside_its_answer(server, records, monkeypatch):
    told = {"message": "indexing: 32 of 640 pictures, about 9 s left"}
    asked = []

    def request(record, method, address, *more, ask=asking._request):
        asked.append(address)
        return json.dumps(told).encode() if address == "/api/state" else ask(record, method, address, *more)

    monkeypatch.setattr(asking, "_request", request)
    write_record(server)
    assert search("--text", "circle")["notes"][-1] == told["message"]
    assert asked == ["/search", "/api/state"]
    told["message"] = ""
    assert told["message"] not in search("--text", "circle")["notes"]


def test_a_server_that_is_gone_or_has_another_index_is_passed_over_and_its_record_goes(server, records):
    write_record(replace(server, pid=GONE))
    write_record(replace(server, identity="another"))
    assert find_record(server.identity) is None
    assert [path.name for path in records.iterdir()] == [f"{os.getpid()}.json"]
    write_record(replace(server, address="http://127.0.0.1:9"))  # nothing listens there
    assert search("--text", "circle")["served_by"] is None
    assert list(records.iterdir()) == []


def test_what_the_server_refuses_is_said_as_it_is_here(server, records):
    write_record(server)
    with pytest.raises(InputInvalid, match="neither a picture file nor in the index"):
        search("--reference", "nobody knows this")
    with pytest.raises(InputInvalid, match="1 --reference and 2 --weight"):
        search("--reference", "🔴", "--weight", 1, "--weight", 2)


def test_the_record_is_the_user_s_alone_and_follows_the_index(server, records, search_project):
    write_record(server)
    (path,) = records.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert find_records_folder() == records
    assert find_record(locate_search("artifacts", None).identify()) == server
    manifest = search_project / "artifacts" / "index" / "manifest.json"
    status = manifest.stat()
    os.utime(manifest, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert find_record(locate_search("artifacts", None).identify()) is None
    os.utime(manifest, ns=(status.st_atime_ns, status.st_mtime_ns))
    remove_record(os.getpid())
    assert find_record(server.identity) is None


def test_a_served_search_loads_no_torch(server, records, search_project):
    write_record(server)
    code = (
        "import sys; from compodiff.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules], file=sys.stderr)"
    )
    asked = ["search", "--model", "artifacts", "--text", "circle", "--verbose"]
    command = [sys.executable, "-c", code, *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=search_project)
    assert done.stderr.splitlines()[-1] == "[]"
    assert f"answered by the server at {server.address}" in done.stderr


def test_an_index_is_not_taken_for_a_folder_of_pictures(search_project):
    with pytest.raises(InputInvalid, match="is an index, which is served as it is: --index "):
        run_command("serve", search_project / "artifacts" / "index")
