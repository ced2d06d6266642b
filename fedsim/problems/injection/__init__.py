"""Task vectors and coefficients for a language model whose weights are open: settings and oracle."""
