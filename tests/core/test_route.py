"""Which route takes an event, and what a routes file may not say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.core.canary import CANARY, with_canary
from keyturn.core.route import Backoff, Exhaustion, Kind, parse_routes
from keyturn.errors import SettingsError

ENTRY: dict[str, Any] = {
    "name": "orders",
    "type": "shop.order.*",
    "workflow": "order",
    "kind": "standard",
    "schema": None,
    "run_timeout_s": 60,
    "worker_timeout_s": 3,
    "max_attempts": 3,
    "backoff": {"first_s": 1, "rate": 2.0, "max_s": 60},
    "on_exhaustion": "park",
    "batch": {"events": 1, "bytes": 1000},
}
PLAIN = {"source": "/legacy", "id": "/id"}


def entry(**changes: Any) -> dict[str, Any]:
    return ENTRY | changes


def types(*patterns: str) -> dict[str, Any]:
    return {"routes": [entry(name=f"r{place}", type=pattern) for place, pattern in enumerate(patterns)]}


@pytest.mark.parametrize(
    ("event_type", "taken_by"),
    [
        ("shop.order.placed", "shop.order.placed"),
        ("shop.order.paid", "shop.order.*"),
        ("shop.order.", "shop.order.*"),
        ("shop.order.paid.twice", "shop.order.*"),
        ("shop.parcel.sent", "shop.*.sent"),
        ("shop.order.sent", "shop.order.*"),
        ("shop.x", "shop.*"),
        ("shop", "*"),
        ("shop.order", "shop.*"),
        ("SHOP.order.placed", "*"),
    ],
)
def test_the_most_specific_route_takes_an_event(event_type: str, taken_by: str) -> None:
    """Exact beats a pattern; then the longest text before the star; then the longest behind it."""
    patterns = ["*", "shop.*", "shop.*.sent", "shop.order.*", "shop.order.placed"]
    for order in (patterns, patterns[::-1]):
        route = parse_routes(types(*order)).for_type(event_type)
        assert route is not None
        assert route.type == taken_by


@given(
    st.lists(
        st.from_regex(r"[ab.]{0,3}\*?[ab.]{0,3}", fullmatch=True).filter(bool), min_size=1, max_size=6, unique=True
    ),
    st.text("ab.", max_size=8),
)
def test_the_order_of_the_file_never_decides(patterns: list[str], event_type: str) -> None:
    """Whatever the patterns, one of them is the most specific."""
    found = [parse_routes(types(*order)).for_type(event_type) for order in (patterns, patterns[::-1])]
    assert [route and route.type for route in found] == [found[0] and found[0].type] * 2


def test_the_text_on_both_sides_of_a_star_may_not_overlap() -> None:
    """ "ab*ba" takes "abba", not "aba"."""
    routes = parse_routes(types("ab*ba"))
    assert routes.for_type("abba")
    assert routes.for_type("aba") is None


def test_a_star_is_the_only_wildcard() -> None:
    """Brackets, question marks and line ends mean themselves."""
    routes = parse_routes(types("a[b]?"))
    assert routes.for_type("a[b]?")
    assert routes.for_type("ab.") is None
    assert parse_routes(types("a.b")).for_type("a.b\n") is None


def test_a_type_that_no_route_takes_has_none() -> None:
    """Its records go to quarantine."""
    assert parse_routes(types("shop.*")).for_type("permit.granted") is None


def test_a_removed_route_has_a_stand_in_that_parks() -> None:
    """What it left behind waits for a person, and its key stays out of the logs."""
    routes = parse_routes(types("shop.*"))
    assert routes.named("gone") is None
    missing = routes.named_or_missing("gone")
    assert (missing.on_exhaustion, missing.max_attempts, missing.personal_key) == (Exhaustion.PARK, 1, True)


def test_a_route_is_read_whole() -> None:
    """Every field, and the defaults of the two that may be left out."""
    (route,) = parse_routes({"routes": [ENTRY]}).routes
    assert (route.kind, route.backoff, route.personal_key, route.plain) == (
        Kind.STANDARD,
        Backoff(1, 2.0, 60),
        False,
        None,
    )


@pytest.mark.parametrize(("attempt", "delay_ms"), [(1, 1000), (2, 2000), (6, 32_000), (7, 60_000), (10_000, 60_000)])
def test_the_wait_doubles_up_to_its_maximum(attempt: int, delay_ms: int) -> None:
    """Also after more attempts than a float has powers of two."""
    assert Backoff(1, 2.0, 60).delay_ms(attempt) == delay_ms


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([entry(), entry(type="x")], 'routes.json, route "orders": another route has the name "orders" too'),
        ([entry(), entry(name="b")], 'routes.json, route "b": another route has the type "shop.order.*" too'),
        ([entry(run_timeout_s=3)], 'route "orders": run_timeout_s is 3, its slowest worker may take 3 s: raise'),
        ([entry(kind="express", run_timeout_s=361)], 'route "orders": run_timeout_s is 361, and an Express execution'),
        ([entry(kind="nested", run_timeout_s=361)], "after which nobody works and the key waits: lower it to 360"),
        ([entry(backoff={"first_s": 9, "rate": 1, "max_s": 5})], "backoff.first_s is 9, above backoff.max_s 5: lower"),
        (
            [entry(batch={"events": 1, "bytes": 180_001})],
            "batch.bytes is 180001, a run carries 180000 at most: lower it",
        ),
        ([entry(plain=PLAIN)], "plain.type is missing, and the route's type is a pattern: say which"),
        ([entry(plain=PLAIN | {"type": "x.y"})], 'plain.type is "x.y", which this route does not take'),
        (
            [entry(plain=PLAIN | {"type": "shop.order.x"}), entry(name="b", type="shop.order.x")],
            'plain.type is "shop.order.x", which this route does not take',
        ),
    ],
)
def test_what_routes_may_not_say_is_named_with_its_place_and_the_way_out(
    routes: list[dict[str, Any]], message: str
) -> None:
    """One line: what is wrong, where, and what to do."""
    with pytest.raises(SettingsError) as caught:
        parse_routes({"routes": routes})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        (
            {"name": "keyturn-canary"},
            'route "keyturn-canary": name is "keyturn-canary", which is the built-in route\'s',
        ),
        ({"type": "keyturn.canary"}, 'route "orders": type is "keyturn.canary", which is the built-in route\'s'),
        ({"plain": PLAIN | {"type": "keyturn.canary"}, "type": "*"}, 'route "orders": plain.type is "keyturn.canary"'),
    ],
)
def test_a_route_may_not_take_the_place_of_the_built_in_one(taken: dict[str, Any], message: str) -> None:
    """Its events must come to it in every deployment."""
    with pytest.raises(SettingsError) as caught:
        with_canary(parse_routes({"routes": [entry(**taken)]}))
    assert message in str(caught.value)


def test_a_route_that_takes_everything_leaves_the_canary_alone() -> None:
    """An exact type goes before any pattern."""
    assert with_canary(parse_routes({"routes": [entry(type="*")]})).for_type(CANARY.type) is CANARY


CARD = {"keys": 5, "window_s": 60, "probe_after_s": 10, "probe_after_max_s": 300}


def test_routes_share_a_breaker_by_its_name() -> None:
    """It stands once in the file, so they can't disagree; a route that is added in code leaves it as it is."""
    entries = [entry(breaker="card"), entry(name="paid", type="paid", breaker="card"), entry(name="free", type="free")]
    routes = parse_routes({"routes": entries, "breakers": {"card": CARD}})
    assert [(rules.name, rules.keys) for rules in routes.breakers] == [("card", 5)]
    assert routes.with_breaker("card") == ("orders", "paid")
    assert with_canary(routes).breaker("card") == routes.breaker("card")


@pytest.mark.parametrize(
    ("breaker", "breakers", "said"),
    [
        ("bank", {"card": CARD}, 'route "orders": there is no breaker "bank"'),
        ("card", {}, 'route "orders": there is no breaker "card"'),
        ("card", {"card": CARD, "bank": CARD}, 'breaker "bank": no route has it'),
        ("card", {"card": CARD | {"probe_after_s": 301}}, "probe_after_s is 301, above probe_after_max_s 300"),
    ],
)
def test_a_breaker_that_cannot_be_meant_is_refused(breaker: str, breakers: dict[str, Any], said: str) -> None:
    """Each in a line that says what to do."""
    with pytest.raises(SettingsError, match=r"routes\.json, ") as raised:
        parse_routes({"routes": [entry(breaker=breaker)], "breakers": breakers})
    assert said in str(raised.value)
