"""nbgrader's settings for this class. Run nbgrader in this folder, with the Python that has the course."""

import os
import sys

os.environ.update(COURSE_PROGRESS="off", OMP_NUM_THREADS="1")  # inherited by the kernels that grade
# nbgrader starts alembic, which is installed beside this Python, by its bare name
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")

SECONDS = 120  # for one cell; an answer that does not end is stopped by its check after five
STOPPED = f"This cell did not end within {SECONDS} seconds and was stopped."

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "attention-at-length"
c.ClearSolutions.code_stub = {"python": "...  # your code here"}
c.Execute.timeout = SECONDS
c.Execute.error_on_timeout = {"ename": "CellTimeoutError", "evalue": STOPPED, "traceback": [STOPPED]}
c.Execute.extra_arguments = ["--log-level=ERROR"]
