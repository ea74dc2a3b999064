"""Search spaces for `recipes.tune`: for keys of a recipe, the values to try."""

ATTENTION = "model.attention"

SPACES = {
    # Table 8: the initial value of the control factor.
    "lambda": {f"{ATTENTION}.lambda_init": (0.01, 0.05, 0.1, 0.5, 1.0)},
    # Table 9
    "gate": {f"{ATTENTION}.gate": ("tanh", "sigmoid", "softmax", "relu", "linear")},
    # Table 10: hidden units as multiples of the output channels.
    "hidden": {f"{ATTENTION}.hidden_multiplier": (1, 2, 3, 4)},
    "attention": {
        f"{ATTENTION}.lambda_init": (0.01, 0.05, 0.1, 0.5),
        f"{ATTENTION}.hidden_multiplier": (1, 2, 3),
        f"{ATTENTION}.gate": ("tanh", "sigmoid", "linear"),
        f"{ATTENTION}.dropout": (0.0, 0.2),
        f"{ATTENTION}.positions": ("expand,depthwise,project", "expand,project", "project"),
    },
}
