"""The lock of what all threads share: held while a step is captured and made into code, until both are where all find them.

A process is not forked meanwhile, so that its child finds the lock free and nothing half made.
"""

import os
import threading

LOCK = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)
