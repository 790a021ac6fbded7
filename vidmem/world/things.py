"""The everyday things of the sample world: their English names and the emoji each is drawn from.

`python -m vidmem.world.things` draws the sprite sheet `sprites.png` again from the Noto Color Emoji font
(Debian package `fonts-noto-color-emoji`). The sheet is committed, so that nobody needs the font.
"""

from __future__ import annotations

EMOJI: dict[str, str] = {
    "dog": "🐶", "cat": "🐱", "pig": "🐷", "frog": "🐸", "panda": "🐼", "fox": "🦊", "rabbit": "🐰",
    "elephant": "🐘", "penguin": "🐧", "duck": "🦆", "turtle": "🐢", "fish": "🐠",
    "crab": "🦀", "octopus": "🐙", "butterfly": "🦋", "bee": "🐝",
    "car": "🚗", "bus": "🚌", "bicycle": "🚲", "train": "🚆", "airplane": "🛩️",
    "helicopter": "🚁", "rocket": "🚀", "sailboat": "⛵", "anchor": "⚓",
    "apple": "🍎", "banana": "🍌", "grapes": "🍇", "lemon": "🍋", "watermelon": "🍉", "strawberry": "🍓",
    "pineapple": "🍍", "carrot": "🥕", "mushroom": "🍄", "cheese": "🧀", "pizza": "🍕",
    "burger": "🍔", "cake": "🎂", "donut": "🍩", "cup": "☕",
    "key": "🔑", "hammer": "🔨", "scissors": "✂️", "umbrella": "☂️", "book": "📕", "clock": "⏰", "lamp": "💡",
    "phone": "📱", "camera": "📷", "laptop": "💻", "television": "📺", "guitar": "🎸", "drum": "🥁",
    "football": "⚽", "trophy": "🏆", "balloon": "🎈",
    "gift": "🎁", "hat": "🎩", "shoe": "👟", "shirt": "👕", "glasses": "👓", "backpack": "🎒", "candle": "🕯️",
    "tree": "🌳", "cactus": "🌵", "sunflower": "🌻", 
    "house": "🏠", "snowman": "⛄", "robot": "🤖", "crown": "👑", 
}  # fmt: skip

SIGN_WORDS = ("EXIT", "OPEN", "SALE", "STOP", "CAFE", "BANK", "HELP", "ZOO")
"""Words that a text sign of the world may carry."""
