"""lungseg3d: a CT series in, lungs and lung nodules out - segmented, measured, checked and exportable.

Research use only; not a medical device.
"""

import os
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lungseg3d")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"


def _name_the_user() -> None:
    """Give a user number without an account a name and a home in the environment, which child processes inherit.

    MONAI, PyTorch and MLflow ask `getpass.getuser()` and `Path.home()`, partly while they are imported, and end with an
    error where the number has no entry in /etc/passwd: `docker run --user`, OpenShift, cluster nodes without their
    directory service. The home is `/`, as containers have it: nothing is kept there.
    """
    is_named = any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME"))
    if is_named and os.environ.get("HOME"):
        return
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except ImportError:  # Windows has names, and sets USERNAME
        return
    except KeyError:
        if not is_named:
            os.environ["LOGNAME"] = f"uid-{os.getuid()}"
        os.environ["HOME"] = os.environ.get("HOME") or "/"


_name_the_user()
