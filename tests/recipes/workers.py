"""Two worker processes on this machine that train a tiny network together."""

import json
import os
import socket
import subprocess
import sys
import textwrap

import tiny

ROOT = tiny.ROOT
OPTIONS = ("--strategy", "multi-worker")
TWO_DEVICES = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_workers(run_dir, *settings, code="", count=2, recipe="digits-mobilenetv2-sb", options=()):
    """Starts `recipes.train` as several processes, after some other code that knows its `index`.

    Returns:
        A `Popen` for every worker.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    arguments = tiny.arguments(run_dir, *settings, options=(*OPTIONS, *options), recipe=recipe)
    workers = []
    for index in range(count):
        program = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests" / "recipes")!r})
import tiny
from recipes import train
from recipes.command import exit_code
tiny.shrink()
index = {index}
{textwrap.dedent(code)}
sys.exit(exit_code(lambda: train.main({arguments!r})))
"""
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return workers
