"""What every child of the supervisor does first: see to it that it does not outlive it."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, however that dies; leave at once if it is dead already.

    The signal follows the *thread* that started this process: the supervisor starts its children from its main thread.

    Args:
        parent: the supervisor's process id, as it told us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # It may have died between our start and the request above, and nobody would tell us.
    if os.getppid() != parent:
        sys.exit(1)
