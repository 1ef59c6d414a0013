"""The one-page report of a run: what was done, what was assumed, what was found, with pictures."""
