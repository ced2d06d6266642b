"""What the numbers of finished runs say: statistics, tables and figures.

Everything here takes the tables of finished runs (`fedsim.load_results`) and gives back a table or a
picture. Nothing here reads a results folder or runs a simulation.
"""

import os

if os.environ.get("MPLBACKEND"):  # a wrong one would end the import of any figure
    from fedsim_analysis.drawing import ready

    ready()
