"""What the numbers of finished runs say: statistics, tables and figures.

Everything here takes the tables of finished runs (`fedsim.load_results`) and gives back a table or a
picture. Nothing here reads a results folder or runs a simulation.
"""
