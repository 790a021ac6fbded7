"""Questions about a stretch of the sample world, with true answers and their evidence."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from vidmem.types import Span
from vidmem.world.answers import KINDS, Facts, Kind, Question
from vidmem.world.scene import Presence, Scene
from vidmem.world.script import MOVE_SECONDS, PLACES, Stay
from vidmem.world.words import PLACE_PHRASES, a, counted, noun, plural, sentence

Maker = Callable[[Scene, random.Random], "Question | None"]
Makers = Mapping[Kind, Sequence[tuple[float, Maker]]]
"""For each kind of question the ways to make one, each with its weight."""


def ask(scene: Scene, rng: random.Random, kind: Kind, makers: Makers | None = None) -> Question | None:
    """One question of a kind about a scene; None if the scene gives none. `makers` is `MAKERS` if not given."""
    left = list((makers or MAKERS)[kind])
    while left:
        weights = [weight for weight, _ in left]
        index = rng.choices(range(len(left)), weights)[0]
        question = left.pop(index)[1](scene, rng)
        if question is not None:
            return question
    return None


def ask_many(
    scene: Scene, rng: random.Random, count: int, kinds: Sequence[Kind] = KINDS, makers: Makers | None = None
) -> list[Question]:
    """Up to `count` different questions, the kinds in turn from a random start."""
    order = list(kinds)
    rng.shuffle(order)
    asked: dict[str, Question] = {}
    for attempt in range(count * 3):
        question = ask(scene, rng, order[attempt % len(order)], makers)
        if question is not None:
            asked.setdefault(question.text, question)
        if len(asked) == count:
            break
    return list(asked.values())


def _what_at_place(scene: Scene, rng: random.Random) -> Question | None:
    for _ in range(6):
        seconds, place = rng.choice(scene.times), rng.choice(PLACES)
        visible = scene.chapter_at(seconds).visible(seconds)
        if any(stay.place_at(seconds) is None for stay in visible):
            continue
        there = [stay for stay in visible if stay.place_at(seconds) == place]
        at = f"{PLACE_PHRASES[place]} at {scene.clock(seconds)}"
        if there:
            answer = f"{sentence(a(there[0].thing))} was {PLACE_PHRASES[place]}."
            return Question("what", f"What was {at}?", answer, Facts(thing=there[0].thing), scene.around(seconds))
        if rng.random() < 0.08:
            answer = f"Nothing was {PLACE_PHRASES[place]}."
            return Question("what", f"What was {at}?", answer, Facts(yes=False), scene.around(seconds))
    return None


def _what_appeared(scene: Scene, rng: random.Random) -> Question | None:
    together = Counter(scene.first_seen(presence.span) for presence in scene.presences)
    later = [
        p
        for p in scene.once()
        if p.span.start > scene.times[0] + 1.0 and _fresh(scene, p) and together[scene.first_seen(p.span)] == 1
    ]
    if not later:
        return None
    presence = rng.choice(later)
    clock = scene.clock(scene.first_seen(presence.span))
    answer = f"{sentence(a(presence.thing))} appeared at {clock}."
    return Question("what", f"What appeared at {clock}?", answer, Facts(thing=presence.thing), presence.span)


def _fresh(scene: Scene, presence: Presence) -> bool:
    """Is the moment just before it came among what was seen?"""
    return any(presence.span.start - 1.6 <= time < presence.span.start for time in scene.times)


def _what_sign(scene: Scene, rng: random.Random) -> Question | None:
    signs = [p for p in scene.presences if p.thing.startswith("sign ")]
    if len(signs) != 1:
        return None
    word = signs[0].thing.removeprefix("sign ")
    return Question(
        "what", "What did the sign say?", f"The sign said {word}.", Facts(thing=signs[0].thing), signs[0].span
    )


def _what_alone(scene: Scene, rng: random.Random) -> Question | None:
    for seconds in rng.sample(scene.times, min(5, len(scene.times))):
        visible = scene.chapter_at(seconds).visible(seconds)
        if len(visible) == 1:
            thing = visible[0].thing
            text = rng.choice(("What was there at {}?", "What could be seen at {}?")).format(scene.clock(seconds))
            return Question("what", text, f"{sentence(a(thing))} was there.", Facts(thing=thing), scene.around(seconds))
    return None


def _where(scene: Scene, rng: random.Random) -> Question | None:
    still = [presence for presence in scene.once() if presence.mover is None]
    if not still:
        return None
    presence = rng.choice(still)
    place = presence.stays[0].place
    name = noun(presence.thing)
    text = rng.choice((f"Where was the {name}?", f"Where was the {name}?", f"Where did the {name} appear?"))
    answer = f"The {name} was {PLACE_PHRASES[place]}."
    return Question("where", text, answer, Facts(places=(place,)), presence.span)


def _where_at(scene: Scene, rng: random.Random) -> Question | None:
    for _ in range(4):
        seconds = rng.choice(scene.times)
        visible = scene.chapter_at(seconds).visible(seconds)
        names = [stay.thing for stay in visible]
        single = [stay for stay in visible if names.count(stay.thing) == 1 and stay.place_at(seconds) is not None]
        if single:
            stay = rng.choice(single)
            place = stay.place_at(seconds)
            assert place is not None
            name = noun(stay.thing)
            text = f"Where was the {name} at {scene.clock(seconds)}?"
            answer = f"The {name} was {PLACE_PHRASES[place]}."
            return Question("where", text, answer, Facts(places=(place,)), scene.around(seconds))
    return None


def _when_appeared(scene: Scene, rng: random.Random) -> Question | None:
    later = [p for p in scene.once() if p.span.start > scene.times[0] + 1.0 and _fresh(scene, p)]
    if not later:
        return None
    presence = rng.choice(later)
    name = noun(presence.thing)
    seen = scene.first_seen(presence.span)
    answer = f"The {name} appeared at {scene.clock(seen)}."
    text = rng.choice(
        (f"When did the {name} appear?", f"When did the {name} appear?", f"When did {a(presence.thing)} come?")
    )
    return Question("when", text, answer, Facts(seconds=presence.span.start), presence.span)


def _when_left(scene: Scene, rng: random.Random) -> Question | None:
    gone = [
        presence
        for presence in scene.once()
        if any(presence.span.end <= time < presence.span.end + 1.6 for time in scene.times)
    ]
    if not gone:
        return None
    presence = rng.choice(gone)
    name = noun(presence.thing)
    text = rng.choice((f"When did the {name} leave?", f"When was the {name} last seen?"))
    verb = "left" if "leave" in text else "was last seen"
    answer = f"The {name} {verb} at {scene.clock(scene.last_seen(presence.span))}."
    return Question("when", text, answer, Facts(seconds=presence.span.end), presence.span)


def _light_change(scene: Scene) -> tuple[float, str, Span] | None:
    changes = [
        (chapter.light_changes_at, chapter) for chapter in scene.chapters if chapter.light_changes_at is not None
    ]
    if len(changes) != 1 or len(scene.chapters) != 1:
        return None
    at, chapter = changes[0]
    after = next((time for time in scene.times if time >= at), None)
    if after is None or not any(at - 1.6 <= time < at for time in scene.times):
        return None
    return at, "night" if chapter.is_night(after) else "day", scene.around(after)


def _when_light(scene: Scene, rng: random.Random) -> Question | None:
    change = _light_change(scene)
    if change is None:
        return None
    at, light, evidence = change
    seen = next(time for time in scene.times if time >= at)
    return Question(
        "when",
        f"When did it become {light}?",
        f"It became {light} at {scene.clock(seen)}.",
        Facts(seconds=at),
        evidence,
    )


def _order_next(scene: Scene, rng: random.Random) -> Question | None:
    firsts = sorted((group[0] for group in scene.by_thing.values()), key=lambda presence: presence.span.start)
    together = Counter(scene.first_seen(presence.span) for presence in firsts)
    pairs = [
        (first, second)
        for first, second in zip(firsts, firsts[1:], strict=False)
        if len(scene.by_thing[first.thing]) == len(scene.by_thing[second.thing]) == 1
        and together[scene.first_seen(first.span)] == together[scene.first_seen(second.span)] == 1
    ]
    if not pairs:
        return None
    first, second = rng.choice(pairs)
    asked, wanted, word = (first, second, "after") if rng.random() < 0.6 else (second, first, "before")
    text = f"What came {word} the {noun(asked.thing)}?"
    answer = f"The {noun(wanted.thing)} came {word} the {noun(asked.thing)}."
    return Question("order", text, answer, Facts(thing=wanted.thing), wanted.span)


def _order_first(scene: Scene, rng: random.Random) -> Question | None:
    single = [group[0] for group in scene.by_thing.values() if len(group) == 1]
    if len(single) < 2:
        return None
    one, other = rng.sample(single, 2)
    if scene.first_seen(one.span) == scene.first_seen(other.span):
        return None
    first = min(one, other, key=lambda presence: presence.span.start)
    text = f"Which came first, the {noun(one.thing)} or the {noun(other.thing)}?"
    return Question("order", text, f"The {noun(first.thing)} came first.", Facts(thing=first.thing), first.span)


def _how_many_copies(scene: Scene, rng: random.Random) -> Question | None:
    alike = [
        g for g in scene.by_thing.values() if len({len(p.stays) for p in g}) == 1 and not g[0].thing.startswith("sign ")
    ]
    if not alike:
        return None
    wanted = rng.choice((1, 2, 3, 4))  # evenly over counts as far as the scene allows
    group = next((g for g in rng.sample(alike, len(alike)) if len(g[0].stays) == wanted), None) or rng.choice(alike)
    thing, count = group[0].thing, len(group[0].stays)
    verb = "was" if count == 1 else "were"
    answer = f"There {verb} {counted(count, thing)}."
    return Question("how many", f"How many {plural(thing)} were there?", answer, Facts(number=count), group[0].span)


def _how_many_times(scene: Scene, rng: random.Random) -> Question | None:
    groups = [group for group in scene.by_thing.values() if not group[0].thing.startswith("sign ")]
    again = [group for group in groups if len(group) > 1]
    if not groups:
        return None
    group = rng.choice(again if again and rng.random() < 0.6 else groups)
    if not all(_gap_seen(scene, one, two) for one, two in zip(group, group[1:], strict=False)):
        return None
    name, count = noun(group[0].thing), len(group)
    answer = f"The {name} appeared {count} {'time' if count == 1 else 'times'}."
    return Question("how many", f"How many times did the {name} appear?", answer, Facts(number=count), group[0].span)


def _gap_seen(scene: Scene, one: Presence, two: Presence) -> bool:
    return any(one.span.end <= time < two.span.start for time in scene.times)


def _how_many_things(scene: Scene, rng: random.Random) -> Question | None:
    seconds = max(rng.sample(scene.times, min(2, len(scene.times))), key=lambda t: len(scene.chapter_at(t).visible(t)))
    count = len(scene.chapter_at(seconds).visible(seconds))
    clock = scene.clock(seconds)
    answer = f"There was 1 thing at {clock}." if count == 1 else f"There were {count} things at {clock}."
    return Question(
        "how many", f"How many things were there at {clock}?", answer, Facts(number=count), scene.around(seconds)
    )


def _was_there(scene: Scene, rng: random.Random) -> Question | None:
    if scene.presences and rng.random() < 0.5:
        presence = rng.choice(scene.presences)
        text, answer = f"Was there {a(presence.thing)}?", f"Yes, there was {a(presence.thing)}."
        return Question("was there", text, answer, Facts(yes=True), presence.span)
    thing = scene.absent(rng)
    if thing is None:
        return None
    text, answer = f"Was there {a(thing)}?", f"No, there was no {noun(thing)}."
    return Question("was there", text, answer, Facts(yes=False), Span(scene.times[0], scene.times[-1]))


def _was_there_at(scene: Scene, rng: random.Random) -> Question | None:
    if not scene.presences:
        return None
    seconds = rng.choice(scene.times)
    here = {stay.thing for stay in scene.chapter_at(seconds).visible(seconds)}
    away = [presence.thing for presence in scene.presences if presence.thing not in here]
    yes = bool(here) and (not away or rng.random() < 0.5)
    thing = rng.choice(sorted(here) if yes else away)
    clock = scene.clock(seconds)
    answer = f"Yes, there was {a(thing)} at {clock}." if yes else f"No, there was no {noun(thing)} at {clock}."
    return Question("was there", f"Was there {a(thing)} at {clock}?", answer, Facts(yes=yes), scene.around(seconds))


def _was_it_night(scene: Scene, rng: random.Random) -> Question | None:
    seconds = rng.choice(scene.times)
    night = scene.chapter_at(seconds).is_night(seconds)
    asked = "night" if rng.random() < 0.5 else "day"
    yes = night == (asked == "night")
    clock = scene.clock(seconds)
    answer = f"Yes, it was {asked} at {clock}." if yes else f"No, it was {'night' if night else 'day'} at {clock}."
    return Question("was there", f"Was it {asked} at {clock}?", answer, Facts(yes=yes), scene.around(seconds))


def _never_seen(scene: Scene, rng: random.Random) -> Question | None:
    thing = scene.absent(rng)
    if thing is None:
        return None
    text = rng.choice(("When did the {} appear?", "Where was the {}?", "When did the {} leave?")).format(noun(thing))
    span = Span(scene.times[0], scene.times[-1])
    return Question("was there", text, f"No {noun(thing)} was seen.", Facts(yes=False), span)


def _movers(scene: Scene) -> list[Stay]:
    """Single things whose both places were seen."""
    found = []
    for presence in scene.once():
        stay = presence.mover
        if stay is None or stay.moves_at is None:
            continue
        before = scene.was_seen(Span(stay.span.start, stay.moves_at))
        after = scene.was_seen(Span(min(stay.moves_at + MOVE_SECONDS, stay.span.end), stay.span.end))
        if before and after:
            found.append(stay)
    return found


def _moved(stay: Stay) -> str:
    assert stay.moves_to is not None
    return f"moved from the {stay.place} to the {stay.moves_to}"


def _which_moved(scene: Scene, rng: random.Random) -> Question | None:
    movers = _movers(scene)
    if len(movers) != 1 or sum(p.mover is not None for p in scene.presences) != 1:
        return None
    stay = movers[0]
    text = rng.choice(("Which thing moved?", "Which thing changed its place?"))
    assert stay.moves_to is not None
    facts = Facts(thing=stay.thing, places=(stay.place, stay.moves_to))
    return Question("which changed", text, f"The {noun(stay.thing)} {_moved(stay)}.", facts, stay.span)


def _did_it_move(scene: Scene, rng: random.Random) -> Question | None:
    movers = _movers(scene)
    still = [presence.stays[0] for presence in scene.once() if presence.mover is None]
    if movers and (not still or rng.random() < 0.6):
        stay = rng.choice(movers)
        answer = f"Yes, the {noun(stay.thing)} {_moved(stay)}."
        assert stay.moves_to is not None
        facts = Facts(yes=True, places=(stay.place, stay.moves_to))
    elif still:
        stay = rng.choice(still)
        answer = f"No, the {noun(stay.thing)} stayed {PLACE_PHRASES[stay.place]}."
        facts = Facts(yes=False, places=(stay.place,))
    else:
        return None
    return Question("which changed", f"Did the {noun(stay.thing)} move?", answer, facts, stay.span)


def _light_changed(scene: Scene, rng: random.Random) -> Question | None:
    change = _light_change(scene)
    if change is None:
        return None
    _, light, evidence = change
    facts = Facts(light="night" if light == "night" else "day")
    return Question("which changed", "How did the light change?", f"It became {light}.", facts, evidence)


MAKERS: Makers = {
    "what": [(3, _what_at_place), (2, _what_appeared), (1, _what_sign), (1.5, _what_alone)],
    "where": [(2, _where), (1.5, _where_at)],
    "when": [(3, _when_appeared), (2, _when_left), (1, _when_light)],
    "order": [(2, _order_next), (1, _order_first)],
    "how many": [(2, _how_many_copies), (1, _how_many_times), (1, _how_many_things)],
    "was there": [(2, _was_there), (1, _was_there_at), (0.7, _was_it_night), (0.6, _never_seen)],
    "which changed": [(3, _which_moved), (2, _did_it_move), (0.7, _light_changed)],
}

TRAINING_MAKERS: Makers = {
    **MAKERS,
    "how many": [(1.5, _how_many_copies), (1, _how_many_times), (1.5, _how_many_things)],
    "was there": [(1, _was_there), (2, _was_there_at), (1.3, _was_it_night), (0.6, _never_seen)],
}
"""The same questions; those that a model learns last come more often."""

LOCAL_MAKERS: Makers = {
    "what": [(3, _what_at_place), (2, _what_appeared), (1, _what_alone)],
    "where": [(2, _where), (1, _where_at)],
    "when": [(3, _when_appeared), (2, _when_left)],
    "order": [(1, _order_first)],
    "how many": [(2, _how_many_copies), (1, _how_many_things)],
    "was there": [(2, _was_there), (1, _was_there_at), (0.7, _was_it_night)],
    "which changed": [(1, _did_it_move)],
}
"""The ones whose answer stands in the few frames that the question names by a thing or a time. They can be asked of a
video of any length; `Which thing moved?` can not, because it takes every frame to know."""
