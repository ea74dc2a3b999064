"""What Keras on JAX computes slowly on a GPU, as functions that XLA fuses: convolutions and normalization.

The values are those of Keras's own code, but for rounding; `KERAS_BACKEND=jax python
results/tinyimagenet/kernels.py` compares them. cuDNN's depthwise convolutions are slow in float32, and
several networks at a time (`jax.vmap` over their weights) turn every convolution into one with groups. Nine
shifted products and matrix products do not.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from keras.src.backend.jax import nn

PART = 2048  # rows of a partial product


def install():
    """Has Keras's layers on JAX use the functions of this file."""
    from sb_keras.layers.batch_norm import BatchNormalization

    nn.conv = conv
    nn.depthwise_conv = depthwise_conv
    BatchNormalization.call = _normalize


def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """A convolution as one matrix product: of the pixels, or of the pixels that the kernel covers."""
    kernel = nn.convert_to_tensor(kernel)
    height, width, channels, filters = kernel.shape
    assert data_format == "channels_last"
    assert _one(dilation_rate) == 1
    assert inputs.shape[-1] == channels, "no groups"
    patches = _shifts(inputs, (height, width), _one(strides), padding)
    patches = patches[0] if len(patches) == 1 else jnp.concatenate(patches, axis=-1)
    return _product(patches, kernel.reshape(-1, filters))


@jax.custom_vjp
def _product(x, kernel):
    return jnp.einsum("bhwc,cd->bhwd", x, kernel)


def _product_forward(x, kernel):
    return _product(x, kernel), (x, kernel)


def _product_backward(saved, upstream):
    """∂ℓ/∂W in parts: one sum over a million pixels that has a thousand results would be one block's work."""
    x, kernel = saved
    batch, height, width, _ = x.shape
    parts = batch
    while parts % 2 == 0 and batch * height * width // parts < PART:
        parts //= 2
    x, rows = (a.reshape(parts, -1, a.shape[-1]) for a in (x, upstream))
    by_kernel = jnp.sum(jnp.einsum("pnc,pnd->pcd", x, rows), axis=0)
    return jnp.einsum("bhwd,cd->bhwc", upstream, kernel), by_kernel


_product.defvjp(_product_forward, _product_backward)


def depthwise_conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """A depthwise convolution as a sum of shifted products, with a gradient of the same kind."""
    assert data_format == "channels_last"
    assert kernel.shape[-1] == _one(dilation_rate) == 1
    return _depthwise(inputs, nn.convert_to_tensor(kernel)[..., 0], _one(strides), padding.upper())


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x, kernel, strides, padding):
    shifts = _shifts(x, kernel.shape[:2], strides, padding)
    return sum(
        part * weight for part, weight in zip(shifts, kernel.reshape(-1, kernel.shape[-1]), strict=True)
    )


def _depthwise_forward(x, kernel, strides, padding):
    return _depthwise(x, kernel, strides, padding), (x, kernel)


def _depthwise_backward(strides, padding, saved, upstream):
    x, kernel = saved
    size = kernel.shape[:2]
    parts = _shifts(x, size, strides, padding)
    by_kernel = jnp.stack([jnp.sum(part * upstream, axis=(0, 1, 2)) for part in parts])
    # ∂ℓ/∂x is the convolution of ∂ℓ/∂y, with zeros between where there are strides, by the mirrored kernel.
    pads = []
    for axis in (1, 2):
        before, _ = _padding(x.shape[axis], size[axis - 1], strides, padding)
        low = size[axis - 1] - 1 - before
        spread = (upstream.shape[axis] - 1) * strides + 1
        pads.append((low, x.shape[axis] + size[axis - 1] - 1 - low - spread, strides - 1))
    zero = jnp.zeros((), upstream.dtype)
    spread = lax.pad(upstream, zero, [(0, 0, 0), *pads, (0, 0, 0)])
    by_x = _depthwise(spread, kernel[::-1, ::-1], 1, "VALID")
    return by_x, by_kernel.reshape(kernel.shape)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _shifts(x, size, strides, padding):
    """For every position of the kernel the pixels that it meets, each (batch, height, width, channels)."""
    pads = [_padding(x.shape[axis], size[axis - 1], strides, padding) for axis in (1, 2)]
    out = [(x.shape[axis] + sum(pads[axis - 1]) - size[axis - 1]) // strides + 1 for axis in (1, 2)]
    if any(map(sum, pads)):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    return [
        x[:, i : i + (out[0] - 1) * strides + 1 : strides, j : j + (out[1] - 1) * strides + 1 : strides]
        for i in range(size[0])
        for j in range(size[1])
    ]


def _padding(length, size, strides, padding):
    if padding.upper() == "VALID":
        return 0, 0
    total = max((math.ceil(length / strides) - 1) * strides + size - length, 0)
    return total // 2, total - total // 2


def _one(value):
    return value if isinstance(value, int) else value[0]


def _normalize(norm, inputs, training=None, mask=None):
    """`BatchNormalization.call`; mean and variance in one pass, as the mean square less the squared mean."""
    assert mask is None
    assert norm.axis in (-1, inputs.ndim - 1)
    gamma, beta = norm.gamma.value, norm.beta.value
    if not (training and norm.trainable):
        scale = gamma * lax.rsqrt(norm.moving_variance.value + norm.epsilon)
        return inputs * scale + (beta - norm.moving_mean.value * scale)
    outputs, mean, variance = _train_norm(inputs, gamma, beta, norm.epsilon)
    for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
        moving.assign(moving * norm.momentum + value * (1.0 - norm.momentum))
    return outputs


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _train_norm(x, gamma, beta, epsilon):
    axes = tuple(range(x.ndim - 1))
    mean = jnp.mean(x, axis=axes)
    variance = jnp.maximum(jnp.mean(jnp.square(x), axis=axes) - jnp.square(mean), 0)
    scale = gamma * lax.rsqrt(variance + epsilon)
    return x * scale + (beta - mean * scale), mean, variance


def _train_norm_forward(x, gamma, beta, epsilon):
    outputs, mean, variance = _train_norm(x, gamma, beta, epsilon)
    return (outputs, mean, variance), (x, gamma, mean, variance)


def _train_norm_backward(epsilon, saved, upstream):
    x, gamma, mean, variance = saved
    upstream = upstream[0]  # nothing is differentiated by way of the moving averages
    axes, inverse = tuple(range(x.ndim - 1)), lax.rsqrt(variance + epsilon)
    normalized = (x - mean) * inverse
    by_beta = jnp.sum(upstream, axis=axes)
    by_gamma = jnp.sum(upstream * normalized, axis=axes)
    count = x.size // x.shape[-1]
    by_x = gamma * inverse * (upstream - (by_beta + normalized * by_gamma) / count)
    return by_x, by_gamma, by_beta


_train_norm.defvjp(_train_norm_forward, _train_norm_backward)


def _compare():
    """Convolutions and their gradients against Keras's, of many shapes."""
    import itertools

    generator, keras_conv, keras_depthwise = np.random.default_rng(0), nn.conv, nn.depthwise_conv
    worst = 0.0
    for height, strides, size, padding in itertools.product((7, 8, 9), (1, 2), (1, 3, 5), ("same", "valid")):
        x = jnp.asarray(generator.normal(size=(2, height, height + 1, 4)), "float32")
        for expected, ours, filters in ((keras_conv, conv, 6), (keras_depthwise, depthwise_conv, 1)):
            kernel = jnp.asarray(generator.normal(size=(size, size, 4, filters)), "float32")

            def gradients(function, x=x, kernel=kernel, strides=strides, padding=padding):
                def loss(x, kernel):
                    return jnp.sum(jnp.sin(function(x, kernel, strides, padding, "channels_last")))

                value, parts = jax.value_and_grad(loss, argnums=(0, 1))(x, kernel)
                return value, *parts

            for a, b in zip(gradients(expected), gradients(ours), strict=True):
                worst = max(worst, float(jnp.linalg.norm(a - b) / jnp.linalg.norm(a)))
    print(f"largest relative difference: {worst:.1e}")


if __name__ == "__main__":
    _compare()
