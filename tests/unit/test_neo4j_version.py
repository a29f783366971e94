import pytest

from analect.index.neo4j.server import numbers_of


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("5.26.30", (5, 26)), ("2026.08.1", (2026, 8)), ("5.27-aura", (5, 27)), ("0.0", (0, 0))],
)
def test_hosted_servers_say_more_than_numbers(version, numbers):
    assert numbers_of(version) == numbers
