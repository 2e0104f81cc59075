"""Queries about a person's pictures: folders are classes, and one class alone asks nothing."""

from compodiff.adaptation.figures import list_picture_queries

NAMES = ["birds/a.jpg", "birds/b.jpg", "red_cars/c.jpg", "two dogs/d.jpg"]


def test_a_query_asks_for_another_class_and_every_picture_of_it_answers() -> None:
    queries = list_picture_queries(NAMES, 60, 0)
    assert len(queries) == 60
    asked = {query.relative_caption: query.targets for query in queries}
    assert asked["a red cars instead"] == ("red_cars/c.jpg",)
    assert asked["two dogs instead"] == ("two dogs/d.jpg",)
    assert asked["a birds instead"] == ("birds/a.jpg", "birds/b.jpg")
    assert all(query.reference not in query.targets for query in queries)


def test_a_picture_in_no_folder_is_of_no_class() -> None:
    queries = list_picture_queries([*NAMES, "loose.jpg", "__/other.jpg"], 60, 0)
    named = {name for query in queries for name in (query.reference, *query.targets)}
    assert named == set(NAMES)
    assert list_picture_queries([*NAMES[:2], "loose.jpg"], 60, 0) == []


def test_pictures_of_one_class_ask_nothing() -> None:
    assert list_picture_queries(NAMES[:2], 60, 0) == []
    assert list_picture_queries(["a.jpg", "b.jpg"], 60, 0) == []
