"""Methods in which every worker learns alone, and nothing is exchanged."""
