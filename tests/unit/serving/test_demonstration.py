"""The gallery of `compodiff demo`: drawn once for a model, and anew for another."""

import json

from compodiff.benchmarks.datasets.assembled import open_assembled
from compodiff.serving import demonstration
from compodiff.serving.demonstration import draw_demonstration

PICTURES = {
    "openmoji-1F534": "red circle (openmoji)",
    "openmoji-1F535": "blue circle (openmoji)",
    "twemoji-1F468-1F3FF": "man: dark skin tone (twemoji)",
}
QUERY = {"reference": "openmoji-1F534", "relative_caption": "make it blue", "targets": ["openmoji-1F535"]}


def test_pictures_are_drawn_under_their_names_once_for_each_model(tmp_path, monkeypatch):
    monkeypatch.setenv("COMPODIFF_HOME", str(tmp_path))
    said = {"name": "one", "demo": {"pictures": PICTURES, "queries": [QUERY]}}
    monkeypatch.setattr(demonstration, "read_description", lambda: said)
    told = []
    gallery = draw_demonstration(lambda message, progress: told.append(message))
    names = sorted(path.name for path in gallery.iterdir())
    assert names == ["blue circle (openmoji).png", "man, dark skin tone (twemoji).png", "red circle (openmoji).png"]
    assert told[-1].endswith("drawing the gallery, 3 of 3")
    (part,) = open_assembled(gallery.parent).load("validation")
    assert (part.queries[0].reference, part.queries[0].targets) == (
        "red circle (openmoji)",
        ("blue circle (openmoji)",),
    )
    told.clear()
    assert draw_demonstration(lambda message, progress: told.append(message)) == gallery
    assert told == []
    said = {**said, "name": "two", "demo": {"pictures": {"openmoji-1F535": "blue"}, "queries": []}}
    draw_demonstration(lambda message, progress: None)
    assert [path.name for path in gallery.iterdir()] == ["blue.png"]
    assert json.loads((gallery.parent / "model.json").read_text())["name"] == "two"
