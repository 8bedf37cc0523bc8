"""Hands that spell, invented: 21 points of a hand per frame, as a pose tracker would give them. Seeded; nothing is downloaded."""

import math
import string

import torch

LETTERS = string.ascii_lowercase
POINTS = 21
WORDS = [
    "apple",
    "bread",
    "chair",
    "cloud",
    "dance",
    "early",
    "fence",
    "fruit",
    "ghost",
    "green",
    "heart",
    "honey",
    "house",
    "juice",
    "knife",
    "lemon",
    "light",
    "money",
    "month",
    "mouse",
    "music",
    "night",
    "ocean",
    "onion",
    "paper",
    "peace",
    "plant",
    "queen",
    "river",
    "salad",
    "sheep",
    "shirt",
    "smile",
    "snake",
    "spoon",
    "storm",
    "sugar",
    "table",
    "tiger",
    "train",
    "uncle",
    "voice",
    "water",
    "wheel",
    "woman",
    "world",
    "write",
    "young",
    "zebra",
]


def alphabet():
    """The pose of every letter: (26, 42). All are the same hand, and few fingers make the difference."""
    chance = torch.Generator().manual_seed(26)
    hand = torch.randn(2 * POINTS, generator=chance)
    return hand + 0.5 * torch.randn(len(LETTERS), 2 * POINTS, generator=chance)


POSES = alphabet()


def clip(word, chance, *, frames=(3, 6), noise=0.4):
    """One hand spelling a word: (T, 42). Every signer has a size, a place and a tilt; letters flow into each other."""

    def between(low, high):
        return low + (high - low) * torch.rand((), generator=chance).item()

    numbers = torch.tensor([LETTERS.index(letter) for letter in word])
    held = (frames[0] + (frames[1] - frames[0]) * torch.rand(len(word), generator=chance)).round().int()
    hand = POSES[numbers.repeat_interleave(held)].view(-1, POINTS, 2)
    hand[1:] = (hand[1:] + hand[:-1]) / 2  # between two letters the hand is neither
    tilt = between(-0.25, 0.25)
    turn = torch.tensor([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    hand = between(0.8, 1.2) * hand @ turn + torch.tensor([between(-0.5, 0.5), between(-0.5, 0.5)])
    return hand.flatten(1) + noise * torch.randn(hand.shape[0], 2 * POINTS, generator=chance)


def spelt(chance, number):
    """Random letters, slowly: what the first stage learns from. [(text, clip)]."""
    texts = []
    for _ in range(number):
        length = int(torch.randint(2, 5, (), generator=chance))
        texts.append("".join(LETTERS[n] for n in torch.randint(26, (length,), generator=chance)))
    return [(text, clip(text, chance)) for text in texts]


def signed(chance, number):
    """Words as people sign them, fast and slurred: what the second stage is judged by. [(text, clip)]."""
    texts = [WORDS[n] for n in torch.randint(len(WORDS), (number,), generator=chance)]
    return [(text, clip(text, chance, frames=(1.6, 3.4), noise=1.6)) for text in texts]
