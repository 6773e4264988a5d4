"""The cost model, `jaxconv/_cost.json`: its measurements, the fit to them, and how good that is."""
