"""The everyday things of the sample world: their English names and the emoji each is drawn from.

`python -m vidmem.world.things` draws the sprite sheet `sprites.png` again from the Noto Color Emoji font
(Debian package `fonts-noto-color-emoji`). The sheet is committed, so that nobody needs the font.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

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

SPRITE_PIXELS = 128
SHEET_COLUMNS = 10


def draw_sheet(font_path: str) -> Image.Image:
    """Draw every thing once into an RGBA sheet of `SHEET_COLUMNS` columns, each cell `SPRITE_PIXELS` square.

    `font_path` is the bitmap build of Noto Color Emoji, whose only size is 109.
    """
    font = ImageFont.truetype(font_path, 109)
    rows = -(-len(EMOJI) // SHEET_COLUMNS)
    sheet = Image.new("RGBA", (SHEET_COLUMNS * SPRITE_PIXELS, rows * SPRITE_PIXELS))
    for index, emoji in enumerate(EMOJI.values()):
        glyph = Image.new("RGBA", (180, 180))
        ImageDraw.Draw(glyph).text((20, 20), emoji, font=font, embedded_color=True)
        glyph = glyph.crop(glyph.getbbox())
        scale = (SPRITE_PIXELS - 2) / max(glyph.size)
        glyph = glyph.resize((round(glyph.width * scale), round(glyph.height * scale)), Image.Resampling.LANCZOS)
        row, column = divmod(index, SHEET_COLUMNS)
        left = column * SPRITE_PIXELS + (SPRITE_PIXELS - glyph.width) // 2
        top = row * SPRITE_PIXELS + (SPRITE_PIXELS - glyph.height) // 2
        sheet.paste(glyph, (left, top))
    return sheet


if __name__ == "__main__":
    draw_sheet("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf").save(
        Path(__file__).with_name("sprites.png"), optimize=True
    )
