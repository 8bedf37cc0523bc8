"""Sentence pairs of two invented languages: other words, and the verb moves to the end. Seeded; nothing is downloaded."""

import random

NOUNS = [
    "river",
    "stone",
    "bird",
    "letter",
    "garden",
    "winter",
    "teacher",
    "lamp",
    "bridge",
    "song",
    "horse",
    "window",
]
VERBS = ["carries", "finds", "loses", "paints", "remembers", "opens", "follows"]
ADJECTIVES = ["old", "green", "quiet", "small", "broken", "distant"]
SYLLABLES = ["ka", "lo", "mi", "ru", "te", "vo", "shi", "na"]


def foreign(word):
    """The word's translation: two or three syllables that follow from its letters."""
    chance = random.Random(word)
    return "".join(chance.choice(SYLLABLES) for _ in range(chance.choice((2, 3))))


def pair(chance):
    """One sentence and its translation, as lists of words."""

    def phrase():
        return ["the", *chance.sample(ADJECTIVES, chance.choice((0, 1, 1))), chance.choice(NOUNS)]

    subject, verb, thing = phrase(), chance.choice(VERBS), phrase()
    # There the adjective follows its noun, articles are not said, and the verb comes last.
    turned = [foreign(word) for part in (subject, thing) for word in reversed(part) if word != "the"]
    return [*subject, verb, *thing], [*turned, foreign(verb)]


def pairs(number, seed):
    """``number`` pairs; the same seed gives the same ones."""
    chance = random.Random(seed)
    return [pair(chance) for _ in range(number)]
