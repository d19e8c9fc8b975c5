"""What every test, and every kernel that a notebook test starts, finds in its environment."""

import os
import signal
from pathlib import Path

ROOT = Path(__file__).resolve().parent

# a run that a script started in the background ignores Ctrl-C, and so would all that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["COURSE_PROGRESS"] = "off"  # a test run is no reader: it leaves work/progress.json alone
os.environ["OMP_NUM_THREADS"] = "1"  # as when the press printed: sums in another order differ in their last bits
# the kernels import this folder's course, although another checkout's may be installed in the environment
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
