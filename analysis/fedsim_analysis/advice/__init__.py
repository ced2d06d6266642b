"""What to set on given workers, network and service: an estimate without a run, and a search by runs."""
