import sys

from analect.installed import offered

GROUP = "analect.processors"


def names():
    return [point.name for point in offered(GROUP)]


def test_what_comes_with_a_folder_of_the_module_path_goes_with_it(tmp_path, monkeypatch):
    before = names()
    assert before == sorted(before)
    assert "text" in before
    info = tmp_path / "late-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nlate = late:Late\n")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "path", [str(tmp_path), *sys.path])
        assert set(names()) == {*before, "late"}
    assert names() == before
