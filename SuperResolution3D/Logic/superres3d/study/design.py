"""What readers are asked.

- "choice-with-original": two results beside the scan that they were made from before it was made coarser (Georgescu 2020, section IV-G).
- "choice": the two results alone.
- "rating": one result at a time, rated from 1 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass

RATINGS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Item:
    """Something that is rated.

    Attributes:
        name: a word.
        low, high: what 1 and 5 mean.
    """

    name: str
    low: str
    high: str


ITEMS = (
    Item("sharpness", "blurred", "sharp"),
    Item("noise", "very noisy", "no noise to be seen"),
    Item("artefacts", "many", "none"),
    Item("confidence", "I would not read it", "I would read it without doubt"),
)


@dataclass(frozen=True)
class Design:
    """A way to ask.

    Attributes:
        name: as the command line takes it.
        panels: results that stand side by side.
        original: the scan itself stands with them.
        question: one sentence.
        items: what is rated; none for a choice.
    """

    name: str
    panels: int
    original: bool
    question: str
    items: tuple[Item, ...] = ()

    def instructions(self, same: bool, slices: int, catches: bool = True) -> list[str]:
        """What a reader is told before the first case, one sentence or two each.

        Args:
            same: "no difference" may be answered.
            slices: of a case; more than one can be leafed through.
            catches: some cases have a known answer.
        """
        keys = "1 to 5 rate; the question stands below the picture." if self.items else "Left arrow or F: left. Right arrow or J: right." + (" S: no difference." if same else "")
        told = [
            self.question,
            f"Keys: {keys} Backspace or U takes the last answer back. P or space pauses. Plus and minus magnify.",
            "Drag with the left button to change window and level, with the right button to move a magnified picture. R brings everything back. All pictures of a case share it.",
            "Some cases come twice" + (", and some have a clear answer, to see whether readers pay attention." if catches else "."),
            "Each answer is kept at once. You may stop at any time and go on later where you stopped.",
            "The time of each case is noted; a pause does not count. There is no hurry.",
            "This is research. No picture is for diagnosis.",
        ]
        return told if slices == 1 else [*told[:2], f"A case has {slices} slices: the mouse wheel, or arrow up and down, leafs through them.", *told[2:]]


DESIGNS = {
    design.name: design
    for design in (
        Design("choice-with-original", 2, True, "Which of the two pictures is closer to the original and would serve you better?"),
        Design("choice", 2, False, "Which of the two pictures would serve you better?"),
        Design("rating", 1, False, "How good is this picture?", ITEMS),
    )
}
