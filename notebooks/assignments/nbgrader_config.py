"""nbgrader's settings for the folder of a class, also for its own commands and its formgrader."""

from mtl_course.grading.gradebook import configure

c = get_config()  # noqa: F821 - nbgrader's

configure(c)  # nbgrader's own commands and buttons run no student's code
c.CourseDirectory.source_directory = "instructor"
c.CourseDirectory.release_directory = "student"
c.CourseDirectory.submitted_directory = "marked"  # what the sandbox has made of `submitted`
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
