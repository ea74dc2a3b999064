"""Packaging. `pip install .` installs the library; recipes/ and tflite/ run from a checkout."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "sb_keras" / "__init__.py").read_text()).group(1)

RECIPES = [
    "tensorflow>=2.21,<2.22",
    "tensorboard>=2.20",
    "tensorflow-datasets>=4.9.10",
    "importlib_resources",  # tensorflow-datasets 4.9.10 imports it without requiring it
    "keras-tuner>=1.4.8",
    "scikit-learn>=1.6",
    "matplotlib>=3.9",
    "pycocotools>=2.0.11",
    "pillow",
    "PyYAML",
    "defusedxml",
    "tqdm",
]
TFLITE = [*RECIPES, "ai-edge-litert>=2.3", "ai-edge-quantizer>=0.10"]
# And tensorflow-model-optimization 0.8.1, which the Makefile installs without what it requires: its absl-py
# is older than what others require, and the newer one does.
COMPRESSION = [*TFLITE, "tf_keras>=2.21,<2.22", "dm-tree", "scipy", "six"]


def long_description():
    """The README for PyPI, which has no files beside it: links lead to the repository, pictures too.

    Without an address (`repository-code` in CITATION.cff) links become their words, and pictures go.
    """
    text = (HERE / "README.md").read_text(encoding="utf-8")
    address = re.search(r"^repository-code: (\S+)$", (HERE / "CITATION.cff").read_text(), re.MULTILINE)
    if address is None:
        text = re.sub(r"<picture>.*?</picture>\n+", "", text, flags=re.DOTALL)
        return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)
    text = re.sub(r'(src|srcset)="(?!https?:)', rf'\1="{address[1]}/raw/main/', text)
    return re.sub(r"\]\((?!https?:)", f"]({address[1]}/blob/main/", text).replace("/blob/main/#", "#")


setup(
    name="sb_keras",
    version=VERSION,
    description="Shift-and-Balance attention for mobile networks in Keras 3",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["sb_keras", "sb_keras.*"]),
    package_data={"sb_keras": ["*.pyi", "py.typed"]},  # the package reads its .pyi: what is imported when
    install_requires=["keras>=3.15,<4", "lazy_loader>=0.4", "numpy", "wrapt>=1.15"],
    extras_require={
        "tensorflow": ["tensorflow>=2.21,<2.22"],
        "recipes": RECIPES,
        "tflite": TFLITE,
        "compression": COMPRESSION,
        "test": [
            "pytest>=9",
            "pytest-xdist",
            "hypothesis>=6.150",
            "mediapipe>=1.2",
            "playwright>=1.65",
            "nbclient>=0.11",
            "ipykernel>=7.4",
        ],
        "export-test": ["onnxruntime>=1.32", "openvino>=2026.4", "tf2onnx>=1.17"],
        "jax": ["jax>=0.10"],
        "torch": ["torch>=2.13"],
        "check": ["ruff", "pyright[nodejs]", "pre-commit", "pre-commit-hooks"],
        "docs": ["mkdocs>=1.6", "mkdocs-material>=9.7", "mkdocstrings[python]>=1.0"],
    },
)
