"""What the library does, seen on real input in a minute: `python -m jaxconv demo`."""
