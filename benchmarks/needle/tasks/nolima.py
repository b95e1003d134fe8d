"""Needles that share no word with their question, after NoLiMa's form (Modarressi et al. 2025, arXiv 2502.05167).

Literal matching does not find them: the question can only be answered by knowing what belongs together. The pairs are our own.
"""

import re

import numpy as np

from benchmarks.needle.haystacks import sentences
from benchmarks.needle.names import TEXTS
from benchmarks.needle.sketch import Sketch
from benchmarks.needle.wording import Wording

NAMES = ("Akira", "Brenna", "Cosmin", "Dalia", "Emeka", "Farida", "Goran", "Henrike", "Ilse", "Jovan", "Kirsi", "Lamin",
         "Mirela", "Nuno", "Oksana", "Priya", "Quim", "Rosalba", "Sven", "Tamar")  # fmt: skip

PAIRS = (
    ("{name} grew up in a flat across from the Brandenburg Gate.", "Who knows Berlin well?"),
    ("{name} sells tickets at the foot of the Eiffel Tower.", "Who works in Paris?"),
    ("{name} rows past the Doge's Palace every morning.", "Who is at home in Venice?"),
    ("{name} cleans the windows of the Sagrada Familia.", "Who has a job in Barcelona?"),
    ("{name} paints the pyramids of Giza from the hotel balcony.", "Who is staying in Egypt?"),
    ("{name} took a photograph of the Taj Mahal at dawn.", "Who has travelled to India?"),
    ("{name} walked along the Great Wall for a week.", "Who has been to China?"),
    ("{name} keeps a stall beside the Acropolis.", "Who earns a living in Athens?"),
    ("{name} never eats anything that comes from an animal.", "Who is a vegan?"),
    ("{name} cannot have bread because of gluten.", "Who suffers from coeliac disease?"),
    ("{name} sees no difference between red and green.", "Who is colour-blind?"),
    ("{name} sleeps by day and guards the factory from ten to six.", "Who does night shifts?"),
    ("{name} fills cavities and pulls molars.", "Who is a dentist?"),
    ("{name} flies an Airbus for a living.", "Who is a pilot?"),
    ("{name} shoes horses and forges gates.", "Who is a blacksmith?"),
    ("{name} tunes violins made by Stradivari.", "Who might have business in Cremona?"),
    ("{name} milks forty cows before breakfast.", "Who is a farmer?"),
    ("{name} turns pale at the sight of eight legs in the bath.", "Who fears spiders?"),
    ("{name} takes the stairs to the thirtieth floor rather than be shut in a lift.", "Who is claustrophobic?"),
    ("{name} puts insulin into the fridge.", "Who is a diabetic?"),
    ("{name} sews up patients in the operating theatre.", "Who is a surgeon?"),
    ("{name} won gold over twenty-six miles.", "Who is a marathon runner?"),
    ("{name} talks with both hands since losing all hearing.", "Who uses sign language?"),
    ("{name} tends the vines and fills the barrels in autumn.", "Who produces wine?"),
)
"""(needle, question): one step of what everybody knows leads from one to the other."""


OFTEN = frozenset(("been", "does", "from", "have", "might", "that", "uses", "well", "with", "works"))
"""Words of the questions that say nothing about their subject."""


class NoLiMa:
    """One needle with a name, and a question for the name; the depth is the needle's.

    Sentences of the haystack that hold the name or a word of the question are left out: nothing else matches literally.
    """

    metric = "substring_recall"
    new_tokens = 32
    has_depth = True
    haystacks: tuple[str, ...] = TEXTS
    takes_wording = False

    def draw(self, rng: np.random.Generator, wording: Wording | None, haystack: str | None, length: int) -> Sketch:
        """Draw a pair, a name and the text."""
        needle, question = PAIRS[int(rng.integers(len(PAIRS)))]
        name = NAMES[int(rng.integers(len(NAMES)))]
        absent = (*content(question), name.lower())
        return Sketch(
            intro="Read the text below. You are asked about a person in it at the end.",
            filler=(
                one for one in sentences(haystack or "novels", rng) if not any(word in one.lower() for word in absent)
            ),
            facts=((None, needle.format(name=name)),),
            question=f"{question} Answer with the name alone.",
            begun="The name is",
            answers=(name,),
        )


def content(question: str) -> set[str]:
    """Return the words of a question that carry its meaning, lower-cased."""
    return {word for word in re.findall(r"[a-z-]+", question.lower()) if len(word) > 3} - OFTEN
