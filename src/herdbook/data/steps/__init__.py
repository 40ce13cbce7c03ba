"""Steps over conversations, one file each, found by its name.

A step has `Config` (pydantic), and `apply(conversations, config, items)` that returns an `Outcome`: what it kept and
what it dropped, with reasons. `items` holds the items of each benchmark that the step is given, by benchmark name.
"""
