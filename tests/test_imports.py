"""What `import sb_keras` imports and what it leaves for later, each in a fresh interpreter."""

import importlib.util
import inspect
import json
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import sb_keras

pytestmark = pytest.mark.long

ROOT = pathlib.Path(__file__).parent.parent
BACKENDS = ("tensorflow", "jax", "torch")
# The backend that is imported fastest.
FASTEST = "jax" if importlib.util.find_spec("jax") else "tensorflow"
LIGHT = ("arguments", "attention", "table")
MODULES = sorted(module.name for module in pkgutil.iter_modules(sb_keras.__path__))
REGISTERED = sorted(
    name
    for path in pathlib.Path(sb_keras.__path__[0]).rglob("*.py")
    for name in re.findall(r"register_keras_serializable.*\nclass (\w+)", path.read_text())
)


def run(program, *arguments, backend=FASTEST):
    """Runs a program, and returns what its last line printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_package_alone_imports_no_backend():
    program = (
        "import json, sys, sb_keras; sb_keras.Attention('sb'); import sb_keras.arguments;"
        "from sb_keras.table import format_table; print(json.dumps([*sys.modules]))"
    )
    assert not {"keras", *BACKENDS} & set(run(program))


def test_everything_that_is_listed_is_there():
    assert {"Attention", "MobileNetV2", "SSDLite", "fold", "layers", "profile"} <= set(dir(sb_keras))
    for name in dir(sb_keras):
        assert getattr(sb_keras, name) is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", sb_keras.__version__)
    with pytest.raises(AttributeError, match="flod"):
        _ = sb_keras.flod  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("module", [module for module in MODULES if module not in LIGHT])
def test_whatever_is_imported_first(module):
    """Classes are registered however Keras comes to be imported; functions are not hidden by modules."""
    program = (
        "import importlib, inspect, json, sys;"
        "importlib.import_module(f'sb_keras.{sys.argv[1]}');"
        "import keras, sb_keras;"
        "known = keras.saving.get_registered_object;"
        "missing = [name for name in sys.argv[2:] if known(f'sb_keras>{name}') is None];"
        "functions = [inspect.isfunction(sb_keras.fold), inspect.isfunction(sb_keras.profile)];"
        "print(json.dumps([missing, functions]))"
    )
    missing, functions = run(program, module, *REGISTERED)
    assert REGISTERED
    assert missing == []
    assert functions == [True, True]


def test_functions_are_not_hidden_by_modules_imported_later():
    for module in MODULES:
        importlib.import_module(f"sb_keras.{module}")
    assert inspect.isfunction(sb_keras.fold)
    assert inspect.isfunction(sb_keras.profile)
    assert not {"fold", "profile"} & set(MODULES)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A trained network with this package's layers, loss and optimizer; pictures, and its outputs."""
    folder = tmp_path_factory.mktemp("saved")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", data_format="channels_last")(inputs)
    x = sb_keras.layers.ShiftBalance(2)([x, inputs])
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax")(x))
    model.compile(sb_keras.optimizers.SGD(0.1), sb_keras.losses.SmoothedCrossentropy(0.1))
    pictures = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype("float32")
    model.fit(pictures, np.arange(5) % 3, verbose=0)
    model.save(folder / "model.keras")
    np.save(folder / "pictures.npy", pictures)
    return folder, keras.ops.convert_to_numpy(model(pictures))


@pytest.mark.parametrize(
    "imports", [pytest.param("import keras, sb_keras", marks=pytest.mark.slow), "import sb_keras, keras"]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_file_loads_in_either_order(saved, imports, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder, expected = saved
    program = (
        f"{imports}; import json, numpy, pathlib, sys; folder = pathlib.Path(sys.argv[1]);"
        "model = keras.saving.load_model(folder / 'model.keras');"
        "outputs = keras.ops.convert_to_numpy(model(numpy.load(folder / 'pictures.npy')));"
        "print(json.dumps([type(model.optimizer).__module__, type(model.loss).__module__, outputs.tolist()]))"
    )
    *modules, outputs = run(program, folder, backend=backend)
    assert modules == ["sb_keras.optimizers", "sb_keras.losses"]
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_a_built_package_holds_every_file(tmp_path):
    arguments = ["-q", "egg_info", "--egg-base", tmp_path, "build", "--build-base", tmp_path / "build"]
    subprocess.run([sys.executable, "setup.py", *arguments], cwd=ROOT, check=True, capture_output=True)
    built = {path.relative_to(tmp_path / "build" / "lib") for path in tmp_path.rglob("build/lib/**/*.py*")}
    sources = {path.relative_to(ROOT) for path in (ROOT / "sb_keras").rglob("*.py*") if path.suffix != ".pyc"}
    assert built == sources
