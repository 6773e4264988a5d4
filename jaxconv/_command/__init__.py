"""Commands for a terminal: a file for each. `jaxconv/__main__.py` has the table of them."""
