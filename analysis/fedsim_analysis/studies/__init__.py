"""Studies that vary settings of a scenario, run them and draw the outcome."""
