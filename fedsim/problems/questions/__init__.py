"""Questions of the server's own, which clients answer with the help of their private labelled texts.

`base` says what an algorithm may ask of such a problem, `problem` holds the settings of the one with a
language model, and `answerer` has its texts in place.
"""
