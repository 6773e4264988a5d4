"""How fast every algorithm is on the layers of real networks: `python -m jaxconv bench`."""
