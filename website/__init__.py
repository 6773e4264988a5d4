"""What `make docs` makes pages of beside those in docs/: docstrings, files of this repository, measured figures."""
