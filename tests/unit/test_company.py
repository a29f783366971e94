from __future__ import annotations

from analect.store.company import Company


def test_who_waits_hears_once_that_nobody_comes_any_more() -> None:
    company, heard = Company(), []
    assert not company.coming(lambda: heard.append("never"))
    company.expect()
    company.expect()
    assert company.coming(lambda: heard.append("alone"))
    company.arrived()
    assert not heard
    company.arrived()
    assert heard == ["alone"]
    company.expect()
    company.arrived()
    assert heard == ["alone"]


def test_the_time_that_somebody_was_on_the_way_is_counted_once() -> None:
    now = [10.0]
    company = Company(lambda: now[0])
    company.expect()
    now[0] = 11.0
    company.expect()
    now[0] = 12.0
    assert company.seconds() == 2
    company.arrived(2)
    now[0] = 20.0
    assert company.seconds() == 2
