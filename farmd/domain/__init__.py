"""The farm in plain words and pure functions: no clock, no network, no database. Everything above asks it, it asks nobody."""
