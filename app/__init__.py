"""The app: a project's questions, reasoning paths and agents in the browser, on this machine alone."""
