"""Federated in-context learning by answers: `fedicl` holds the settings, a `Voter` is the learning half."""
