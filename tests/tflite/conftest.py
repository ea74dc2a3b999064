"""What the tests of conversion and evaluation share: a run directory that no training was needed for."""

import functools
import http.server
import os
import shutil
import threading

import keras
import numpy as np
import pytest
from compressed import attention_network, noise
from page import WEB, Handler, idle
from playwright.sync_api import sync_playwright
from small_models import write_models

from recipes import data as data_sets
from recipes import registry
from recipes.run_directory import RunDirectory

CLASSES = list("0123456789")


@pytest.fixture(scope="session")
def digits():
    """Test images and labels of the digits as arrays."""
    recipe = registry.find("digits-mobilenetv2-static")
    return load_digits(recipe, "test")


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run whose network is linear in the pixels, by least squares."""
    recipe = registry.find("digits-mobilenetv2-static")
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    run.claim(recipe)
    x, labels = load_digits(recipe, "train")
    features = x[:, ::4, ::4, 0].reshape(len(x), -1)
    ones = np.ones((len(x), 1))
    solution, *_ = np.linalg.lstsq(np.hstack([features, ones]), np.eye(10)[labels], rcond=1e-3)

    inputs = keras.Input((32, 32, 3), name="image")
    pixels = keras.layers.Cropping2D(((0, 3), (0, 3)))(inputs)
    pixels = keras.layers.AveragePooling2D(1, strides=4)(pixels)
    red = keras.layers.Conv2D(1, 1, use_bias=False, name="red")
    dense = keras.layers.Dense(10, name="digit")
    model = keras.Model(inputs, dense(keras.layers.Flatten()(red(pixels))))
    red.set_weights([np.array([1.0, 0, 0]).reshape(1, 1, 3, 1)])
    dense.set_weights([solution[:-1], solution[-1]])

    run.save_model(model, run.final_file)
    run.write_result({"classes": CLASSES})
    return run


def load_digits(recipe, split):
    split = getattr(data_sets.load(recipe.data), split)
    batches = split.evaluation_batches(recipe.data, 500)
    return np.concatenate([x.numpy() for x, _ in batches]), split.labels


@pytest.fixture
def colors(rng):
    """Pictures that a network is compressed with; see `compressed`."""
    return noise(rng)


@pytest.fixture
def compressible(randomize, colors):
    """A function that makes a network with random weights and statistics; see `compressed`."""

    def compressible(kind="sb"):
        model = attention_network(kind)
        randomize(model, colors)
        return model

    return compressible


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A directory of small .tflite models; see `small_models`."""
    folder = tmp_path_factory.mktemp("models")
    write_models(folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium. Where it or LiteRT.js is absent its tests are skipped; in CI they fail."""
    give_up = pytest.fail if "CI" in os.environ else pytest.skip
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        give_up("Chromium is not installed")
    if not (WEB / "node_modules" / "@litertjs" / "core").is_dir():
        give_up("LiteRT.js is not installed: npm ci --prefix tflite/web")
    with sync_playwright() as driver:
        # Neither a GPU nor the network is tried; the camera shows a clock.
        arguments = ["--disable-gpu", "--disable-quic", "--use-fake-device-for-media-stream"]
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(browser):
    """Opens the page with the models and pictures of a folder, and waits until it is idle."""
    closing = []

    def open_page(bundled):
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, bundled=bundled)
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page = browser.new_page()
        page.set_default_timeout(120_000)  # milliseconds; of a page that hangs, on however busy a machine
        closing.extend([page.close, server.shutdown, thread.join, server.server_close])
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        idle(page)
        return page

    yield open_page
    for close in closing:
        close()
