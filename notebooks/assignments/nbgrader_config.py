"""nbgrader's settings for the folder of a class, also for its own commands and its formgrader."""

c = get_config()  # noqa: F821 - nbgrader's

c.CourseDirectory.source_directory = "instructor"
c.CourseDirectory.release_directory = "student"
c.CourseDirectory.submitted_directory = "marked"  # what the sandbox has made of `submitted`
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE\nraise NotImplementedError()"}
