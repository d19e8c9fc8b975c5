"""What every test, and every kernel that a notebook test starts, finds in its environment."""

import os
import signal

# a run that a script started in the background ignores Ctrl-C, and so would all that the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ["COURSE_PROGRESS"] = "off"  # a test run is no reader: it leaves work/progress.json alone
os.environ["OMP_NUM_THREADS"] = "1"  # as when the press printed: sums in another order differ in their last bits
