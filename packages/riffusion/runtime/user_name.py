"""A name for users without one, such as those that a container runs as by number."""

import getpass
import os


def ensure_user_name() -> None:
    """Name the user by its number, for this process and those it starts, if it has no name.

    PyTorch puts the name into the path of a cache folder, and can't be imported completely where
    there is none: in a container whose user isn't in /etc/passwd.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        os.environ["LOGNAME"] = str(os.getuid())
