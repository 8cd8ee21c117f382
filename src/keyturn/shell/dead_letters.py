"""Runs again what was given up: a replay of just those events, in their order within a key.

The key is rewound first and the dead letters are closed then. A crash between the two leaves some open. Each says by
which replay it was about to run again, and is only closed by the next redrive if that replay has begun.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Final

from keyturn.adapters import telemetry
from keyturn.adapters.open_items import Closing, How
from keyturn.adapters.table import Item, ItemKey
from keyturn.core.commands import Operator
from keyturn.core.positions import Position
from keyturn.core.replay_job import Act
from keyturn.core.state import Span
from keyturn.errors import CannotOperate, StoreError
from keyturn.shell.closing import Answer, Budget, Fate, answer_of, attempt, by_key
from keyturn.shell.platform import Platform
from keyturn.shell.replays import rewind_key

_EVENTS_OF_A_KEY_MAX: Final = 20
"""Dead letters of one key that one rewind takes on: its spans stand in the key state."""


def redrive_dead_letters(
    platform: Platform, places: Sequence[ItemKey], operator: Operator, *, is_fresh: bool
) -> list[Answer]:
    """Replay the events of dead letters; steps that are done aren't done again unless `is_fresh`."""
    found = platform.open_items.load(places, ("key", "position"))
    items = [(item["key"], item["position"], place) for place, item in found.items()]
    missing = [answer_of(place, Fate.REFUSED, "it is not there any more") for place in places if place not in found]
    budget = Budget.of(platform)

    def redrive_key(key: str, in_order: Sequence[ItemKey]) -> list[Answer]:
        return _redrive_key(platform, key, in_order, operator, is_fresh=is_fresh, budget=budget)

    return missing + by_key(platform, items, redrive_key)


def _redrive_key(
    platform: Platform, key: str, places: Sequence[ItemKey], operator: Operator, *, is_fresh: bool, budget: Budget
) -> list[Answer]:
    """Claim the dead letters of one key, rewind it once for all of them, then close them."""
    token = platform.process.token()
    claimed: dict[ItemKey, Item] = {}
    rewound: dict[ItemKey, str] = {}

    def claim(place: ItemKey) -> str:
        letter = platform.open_items.claim(place, token, platform.clock())
        earlier = letter.get("replay")
        if earlier and platform.outcomes.has_rewound(key, earlier, 0):
            rewound[place] = earlier
        else:
            claimed[place] = letter
        return ""

    taken = [attempt(budget, place, claim) for place in places[:_EVENTS_OF_A_KEY_MAX]]
    answers = [answer for answer in taken if answer.fate is not Fate.DONE]
    answers += [answer_of(place, Fate.UNDONE) for place in places[_EVENTS_OF_A_KEY_MAX:]]
    if claimed:
        replay = _replay_of(list(claimed.values()))
        try:
            _rewind(platform, key, claimed, operator, replay, token=token, is_fresh=is_fresh)
        except (CannotOperate, StoreError) as error:
            fate = Fate.REFUSED if isinstance(error, CannotOperate) else Fate.FAILED
            for place in claimed:
                platform.open_items.let_go(place, token)
            answers += [answer_of(place, fate, str(error)) for place in claimed]
        else:
            rewound |= dict.fromkeys(claimed, replay)

    def close(place: ItemKey) -> str:
        closing = Closing(How.REDRIVEN, operator.by, operator.reason, platform.clock(), rewound[place])
        platform.open_items.close(place, closing, token)
        telemetry.count("Redriven")
        return rewound[place]

    return answers + [attempt(Budget.of(platform), place, close) for place in rewound]


def _replay_of(letters: Sequence[Item]) -> str:
    """Name the replay of these dead letters, as they were given up this time."""
    told = " ".join(f"{letter['position']}@{letter['at_ms']}" for letter in letters)
    return f"deadletter-{sha256(told.encode()).hexdigest()[:16]}"


def _rewind(
    platform: Platform,
    key: str,
    letters: Mapping[ItemKey, Item],
    operator: Operator,
    replay: str,
    *,
    token: str,
    is_fresh: bool,
) -> None:
    """Rewind a key to run these events again. Raises CannotOperate when it can't be, as it is now."""
    positions = [Position(letter["position"]) for letter in letters.values()]
    in_log = platform.log.present((key, place) for place in positions)
    if len(in_log) < len(positions):
        raise CannotOperate("its event is not in the log any more: its time to live ended")
    for place in letters:
        platform.open_items.note_replay(place, token, replay)
    spans = [Span(place, place) for place in positions]
    rewind_key(platform, key, spans, operator, replay=replay, is_new_generation=is_fresh)


def close_run_again(platform: Platform, key: str, spans: Sequence[Span], replay: str, act: Act) -> None:
    """Close the dead letters of events that a replay ran again, which `act` applied.

    What was given up once more since stays open: then it has a later time. So does what somebody is redriving.
    """
    first, last = (platform.log.headings(key, end, end) for end in (spans[0].first, spans[-1].last))
    if not first or not last:
        return  # their time to live ended: they aren't open, or they would have been renewed
    for place, position, given_up_ms in platform.outcomes.open_letters_between(key, first[0], last[0]):
        if given_up_ms < act.at_ms and any(span.first <= position <= span.last for span in spans):
            closing = Closing(How.REDRIVEN, act.by, act.reason, platform.clock(), replay)
            with suppress(CannotOperate):
                platform.open_items.close(place, closing)
                telemetry.count("Redriven")
