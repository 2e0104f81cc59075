"""Words of our own grammar of everyday things: names by kind, with the attributes and places that go with each kind."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Things that are described alike.

    Attributes:
        names: in the singular.
        attributes: adjectives that a picture of one may show.
        places: where one is seen, with their preposition.
    """

    names: tuple[str, ...]
    attributes: tuple[str, ...]
    places: tuple[str, ...]


def _split(words: str) -> tuple[str, ...]:
    return tuple(" ".join(word.split()) for word in words.split(","))


_COLOURS = "red, blue, green, yellow, white, black, brown, grey, orange, pink, purple"
_OUTSIDE = (
    "on a beach, in the snow, in a forest, on a meadow, in a garden, by a lake, on a mountain, in a desert, "
    "in a field, by a river, in a park"
)
_INSIDE = "on a table, on a wooden floor, in a kitchen, on a shelf, in a living room, on a carpet, on a bed, on a desk"
_STREETS = "on a street, in front of a house, on a bridge, in a city, in a village, at a market, by the sea"

KINDS = (
    Kind(
        _split(
            "dog, cat, rabbit, hamster, guinea pig, parrot, goldfish, turtle, kitten, puppy, mouse, hedgehog, canary"
        ),
        _split("black, white, brown, grey, small, sleeping, sitting, running, fluffy, spotted, old, young"),
        _split(f"{_OUTSIDE}, on a sofa, in a basket, {_INSIDE}"),
    ),
    Kind(
        _split(
            "horse, cow, sheep, goat, pig, donkey, chicken, rooster, duck, goose, turkey, llama, pony, lamb, calf, "
            "elephant, lion, tiger, bear, giraffe, zebra, monkey, gorilla, camel, kangaroo, deer, fox, wolf, squirrel, "
            "rhino, hippo, leopard, panda, koala, bat, raccoon, beaver, otter, moose, bison, antelope, cheetah, "
            "eagle, owl, crow, pigeon, swan, flamingo, penguin, peacock, seagull, ostrich, pelican, stork, sparrow, "
            "heron, vulture, hawk, woodpecker, hummingbird, snake, lizard, frog, crocodile, toad, snail, spider, "
            "butterfly, bee, ant, ladybird, dragonfly, grasshopper, beetle, moth, wasp, crab, lobster, starfish, "
            "dolphin, whale, shark, seal, octopus, jellyfish, fish, seahorse, walrus, sea turtle"
        ),
        _split("black, white, brown, grey, small, big, sleeping, standing, running, old, young, wet"),
        _split(f"{_OUTSIDE}, in a zoo, behind a fence, on a rock, in the grass, in the water"),
    ),
    Kind(
        _split(
            "car, bus, truck, van, bicycle, motorbike, tractor, train, tram, boat, ship, sailing boat, canoe, ferry, "
            "airplane, helicopter, hot air balloon, taxi, ambulance, fire engine, police car, scooter, caravan, sports "
            "car, pickup truck, steam locomotive, rowing boat, wheelbarrow, pram, sledge, skateboard"
        ),
        _split(f"{_COLOURS}, old, new, parked, dirty, shiny, rusty"),
        _split(f"{_OUTSIDE}, {_STREETS}, in a garage"),
    ),
    Kind(
        _split(
            "apple, banana, orange, lemon, pear, peach, strawberry, cherry, pineapple, melon, mango, tomato, cucumber, "
            "carrot, potato, onion, pepper, pumpkin, cabbage, mushroom, cauliflower, corn cob, avocado, aubergine, "
            "loaf of bread, sandwich, pizza, hamburger, hot dog, cake, pie, cookie, doughnut, pancake, egg, cheese, "
            "bowl of soup, salad, plate of pasta, ice cream, cup of coffee, glass of milk, bottle of wine, croissant, "
            "walnut, peanut, plum, fig, coconut, kiwi, lime, chestnut, almond, apricot, pomegranate, grapefruit"
        ),
        _split("red, green, yellow, fresh, sliced, half-eaten, big, small, ripe, round"),
        _split(
            "on a plate, on a table, in a bowl, in a basket, on a wooden board, in a kitchen, in a hand, at a market"
        ),
    ),
    Kind(
        _split(
            "chair, table, sofa, bed, lamp, bookcase, desk, cupboard, stool, mirror, clock, vase, candle, pillow, "
            "carpet, curtain, television, computer, laptop, keyboard, telephone, radio, camera, printer, fan, heater, "
            "cup, plate, bowl, bottle, glass, spoon, fork, knife, teapot, pan, kettle, basket, bucket, box, jug, mug, "
            "book, newspaper, pencil, pen, eraser, ruler, backpack, suitcase, umbrella, wallet, key, briefcase, "
            "guitar, piano, violin, drum, trumpet, flute, saxophone, accordion, harp, ball, doll, teddy bear, kite, "
            "hammer, saw, screwdriver, axe, ladder, broom, shovel, rake, drill, wrench, nail, screw, rope, wheel, "
            "football, basketball, tennis racket, surfboard, balloon, toy car, chess board, puzzle, dice, "
            "toothbrush, comb, soap, towel, washing machine, fridge, oven, toaster, iron, sewing machine, light bulb, "
            "padlock, coin, medal, trophy, flag, bell, globe, telescope, microscope, magnifying glass, battery"
        ),
        _split(f"{_COLOURS}, wooden, metal, glass, plastic, old, new, broken, small, big, round, striped"),
        _split(f"{_INSIDE}, in the grass, on a chair, in a box, against a wall, on a white background"),
    ),
    Kind(
        _split(
            "hat, cap, shirt, jacket, coat, dress, skirt, sweater, scarf, glove, shoe, boot, sandal, sock, belt, tie, "
            "handbag, necklace, ring, watch, pair of glasses, pair of trousers, pair of jeans, swimsuit, helmet, crown"
        ),
        _split(f"{_COLOURS}, striped, checked, leather, woollen, old, new"),
        _split("on a chair, on a bed, on a hook, on a shelf, in a shop, on a person, on a white background"),
    ),
    Kind(
        _split(
            "man, woman, boy, girl, baby, farmer, cook, doctor, nurse, police officer, firefighter, soldier, teacher, "
            "dancer, singer, cyclist, runner, skier, swimmer, fisherman, bride, clown, astronaut, football player"
        ),
        _split("young, old, smiling, sitting, standing, running, tall, laughing, tired"),
        _split(f"{_OUTSIDE}, {_STREETS}, in a kitchen, in an office, on a chair, on a stage"),
    ),
    Kind(
        _split(
            "house, church, castle, tower, bridge, windmill, lighthouse, barn, tent, hut, skyscraper, factory, temple, "
            "shop, school, fountain, statue, gate, fence, bench, street lamp, traffic light, letter box, phone box, "
            "rose, sunflower, tulip, daisy, lily, orchid, dandelion, poppy, lavender plant, cactus, fern, palm tree, "
            "oak tree, pine tree, apple tree, leaf, pine cone, rock, waterfall, island, mountain, volcano, rainbow"
        ),
        _split(f"{_COLOURS}, old, big, small, tall, tiny, beautiful"),
        _split(f"{_OUTSIDE}, {_STREETS}"),
    ),
)
CLASS_ATTRIBUTES = _split("black, white, red, brown, big, small, old, young")
CLASS_PLACES = _split(f"{_OUTSIDE}, on a white background, on a table, on a street")
MOMENTS = _split("at night, in the rain, in winter, at sunset, in fog, in bright sunlight")
STYLES = _split("in black and white, as a drawing, as a painting, as a sketch, from above, close up, seen from behind")
NUMBERS = ("two", "three", "four", "five")
_PLURALS = {
    "mouse": "mice", "goose": "geese", "sheep": "sheep", "calf": "calves", "wolf": "wolves", "deer": "deer",
    "fish": "fish", "goldfish": "goldfish", "starfish": "starfish", "jellyfish": "jellyfish", "knife": "knives",
    "loaf of bread": "loaves of bread", "man": "men", "woman": "women", "fisherman": "fishermen", "leaf": "leaves",
    "scarf": "scarves", "bison": "bison", "moose": "moose", "person": "people", "dice": "dice", "soap": "bars of soap",
}  # fmt: skip


def make_plural(name: str) -> str:
    """Return the plural of a name; of "cup of coffee" that of the first word."""
    if name in _PLURALS:
        return _PLURALS[name]
    first, of, rest = name.partition(" of ")
    if of:
        return f"{make_plural(first)}{of}{rest}"
    before, space, last = name.rpartition(" ")
    if last in _PLURALS:
        return f"{before}{space}{_PLURALS[last]}"
    if last.endswith(("s", "x", "z", "ch", "sh")):
        return f"{name}es"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}s"
