"""What will happen in a run, told before it is made: work, time, limits, price, and who waits for whom."""
