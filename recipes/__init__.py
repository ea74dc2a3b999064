"""Training recipes: the paper's settings as values, and the programs that run them."""
