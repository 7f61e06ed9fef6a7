"""Users that the system has no name for get one, since PyTorch asks for it."""

import getpass
import os
import pwd

import pytest

from riffusion.runtime.user_name import ensure_user_name

VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.mark.parametrize("kind", [KeyError, OSError])
def test_a_user_without_a_name_is_named_by_its_number(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise kind(f"uid not found: {uid}")

    for name in VARIABLES:
        monkeypatch.setenv(name, "to be removed, and put back at the end")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    ensure_user_name()
    assert getpass.getuser() == str(os.getuid())


def test_a_name_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "somebody")
    ensure_user_name()
    assert getpass.getuser() == "somebody"
