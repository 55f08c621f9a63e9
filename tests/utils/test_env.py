import pytest

from maskrcnn_benchmark.utils.env import ENV_MODULE_VARIABLE, setup_environment


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_happens_without_the_variable(monkeypatch, value):
    monkeypatch.delenv(ENV_MODULE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(ENV_MODULE_VARIABLE, value)
    setup_environment()


def test_the_users_set_up_runs_when_called_not_when_imported(monkeypatch, tmp_path):
    """upstream: setup-on-call."""
    marker = tmp_path / "ran"
    (tmp_path / "mine.py").write_text(
        f"from pathlib import Path\ndef setup_environment():\n    Path({str(marker)!r}).touch()\n"
    )
    monkeypatch.setenv(ENV_MODULE_VARIABLE, str(tmp_path / "mine.py"))
    assert not marker.exists()
    setup_environment()
    assert marker.exists()


def test_a_file_without_the_function_is_named(monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text("setup_environment = 3\n")
    monkeypatch.setenv(ENV_MODULE_VARIABLE, str(tmp_path / "mine.py"))
    with pytest.raises(ValueError, match=r"mine\.py.*setup_environment\(\), found 3"):
        setup_environment()


def test_a_missing_file_is_named(monkeypatch):
    monkeypatch.setenv(ENV_MODULE_VARIABLE, "/nowhere/mine.py")
    with pytest.raises(FileNotFoundError, match=r"/nowhere/mine\.py"):
        setup_environment()
