"""Tests that torchvision's state dictionaries give torchvision's function: against networks in plain PyTorch.

The networks are written from the published descriptions with torchvision's names of modules; torchvision
itself is no dependency.
"""

import json
import pickle

import numpy as np
import pytest

import sb_keras
from sb_keras.models.stages import make_divisible
from sb_keras.models.torch_weights import read_torch

pytestmark = pytest.mark.long

torch = pytest.importorskip("torch", reason="compares with PyTorch")
nn = torch.nn


def conv(channels, filters, size=1, strides=1, groups=1):
    return nn.Conv2d(channels, filters, size, strides, size // 2, groups=groups, bias=False)


def unit(channels, filters, size=1, strides=1, groups=1):
    return nn.Sequential(conv(channels, filters, size, strides, groups), nn.BatchNorm2d(filters), nn.ReLU6())


class Residual(nn.Module):
    """A block whose layers are in an attribute `conv` or `layers`, as torchvision names them."""

    def __init__(self, name, layers, shortcut):
        super().__init__()
        self.name, self.shortcut = name, shortcut
        setattr(self, name, nn.Sequential(*layers))

    def forward(self, x):
        y = getattr(self, self.name)(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """Sandler et al., 2018, Table 2."""

    def __init__(self, width, classes):
        super().__init__()
        channels = make_divisible(32 * width)
        features = [unit(3, channels, 3, 2)]
        table = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        for expand, filters, repeats, first in table:
            filters = make_divisible(filters * width)
            for repeat in range(repeats):
                strides, hidden = first if repeat == 0 else 1, channels * expand
                layers = [unit(channels, hidden)] if expand > 1 else []
                layers += [
                    unit(hidden, hidden, 3, strides, hidden),
                    conv(hidden, filters),
                    nn.BatchNorm2d(filters),
                ]
                features.append(Residual("conv", layers, strides == 1 and channels == filters))
                channels = filters
        features.append(unit(channels, 1280))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class MnasNet(nn.Module):
    """Tan et al., 2019, as torchvision has it."""

    def __init__(self, width, classes):
        super().__init__()
        first, channels = make_divisible(32 * width), make_divisible(16 * width)
        layers = [conv(3, first, 3, 2), nn.BatchNorm2d(first), nn.ReLU(), conv(first, first, 3, 1, first)]
        layers += [nn.BatchNorm2d(first), nn.ReLU(), conv(first, channels), nn.BatchNorm2d(channels)]
        table = [
            (3, 24, 3, 2, 3),
            (3, 40, 3, 2, 5),
            (6, 80, 3, 2, 5),
            (6, 96, 2, 1, 3),
            (6, 192, 4, 2, 5),
            (6, 320, 1, 1, 3),
        ]
        for expand, filters, repeats, first_strides, size in table:
            filters, blocks = make_divisible(filters * width), []
            for repeat in range(repeats):
                strides, hidden = first_strides if repeat == 0 else 1, channels * expand
                block = [conv(channels, hidden), nn.BatchNorm2d(hidden), nn.ReLU()]
                block += [conv(hidden, hidden, size, strides, hidden), nn.BatchNorm2d(hidden), nn.ReLU()]
                block += [conv(hidden, filters), nn.BatchNorm2d(filters)]
                blocks.append(Residual("layers", block, strides == 1 and channels == filters))
                channels = filters
            layers.append(nn.Sequential(*blocks))
        layers += [conv(channels, 1280), nn.BatchNorm2d(1280), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.layers(x).mean((2, 3)))


class ShuffleUnit(nn.Module):
    """Ma et al., 2018, figure 3 (c) and (d)."""

    def __init__(self, channels, filters, strides):
        super().__init__()
        half = filters // 2
        self.strides, inputs = strides, channels if strides == 2 else half
        norm, relu = nn.BatchNorm2d, nn.ReLU
        self.branch1 = nn.Sequential()
        if strides == 2:
            layers = (
                conv(channels, channels, 3, 2, channels),
                norm(channels),
                conv(channels, half),
                norm(half),
                relu(),
            )
            self.branch1 = nn.Sequential(*layers)
        layers = [conv(inputs, half), norm(half), relu(), conv(half, half, 3, strides, half), norm(half)]
        self.branch2 = nn.Sequential(*layers, conv(half, half), norm(half), relu())

    def forward(self, x):
        left, right = (x, x) if self.strides == 2 else x.chunk(2, 1)
        y = torch.cat([self.branch1(left), self.branch2(right)], 1)
        batch, channels, height, width = y.shape
        return y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(y.shape)


class ShuffleNetV2(nn.Module):
    """Ma et al., 2018, Table 5, ×0.5."""

    def __init__(self, width, classes):
        super().__init__()
        assert width == 0.5
        self.conv1 = nn.Sequential(conv(3, 24, 3, 2), nn.BatchNorm2d(24), nn.ReLU())
        self.maxpool, channels = nn.MaxPool2d(3, 2, 1), 24
        for stage, (filters, repeats) in enumerate([(48, 4), (96, 8), (192, 4)], 2):
            units = [ShuffleUnit(channels, filters, 2)]
            units += [ShuffleUnit(filters, filters, 1) for _ in range(repeats - 1)]
            setattr(self, f"stage{stage}", nn.Sequential(*units))
            channels = filters
        self.conv5 = nn.Sequential(conv(channels, 1024), nn.BatchNorm2d(1024), nn.ReLU())
        self.fc = nn.Linear(1024, classes)

    def forward(self, x):
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        return self.fc(self.conv5(x).mean((2, 3)))


NETWORKS = {
    "MobileNetV2": (MobileNetV2, 0.35),
    "MnasNet": (MnasNet, 0.5),
    "ShuffleNetV2": (ShuffleNetV2, 0.5),
}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """The builder's name and its width, and the network of PyTorch with random weights and statistics."""
    make, width = NETWORKS[request.param]
    torch.manual_seed(0)
    network = make(width, 7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
            module.momentum = 1.0  # the statistics of the next batch
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
        network.eval()
        outputs = network(torch.randn(8, 3, 64, 64))
    assert outputs.std(0).max() > 0.1 * outputs.abs().max(), "the outputs hardly depend on the input"
    return request.param, width, network


def write_safetensors(tensors, path):
    """The format as its documentation describes it."""
    header: dict = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        content = tensor.numpy().tobytes()
        dtype = {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype]
        header[name] = {
            "dtype": dtype,
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


@pytest.mark.parametrize("size", [pytest.param(64, marks=pytest.mark.slow), 75])
def test_the_function_is_the_same(trained, size, rng, tmp_path):
    """To 1e-4 of the logits' size: fifty layers in float32, summed in another order."""
    name, width, network = trained
    torch.save(network.state_dict(), tmp_path / "w.pth")
    write_safetensors(network.state_dict(), tmp_path / "w.safetensors")
    x = rng.normal(size=(2, size, size, 3)).astype("float32")
    with torch.no_grad():
        expected = network(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    for file in ("w.pth", "w.safetensors")[: 1 if size == 75 else 2]:
        model = getattr(sb_keras, name)(
            (size, size, 3),
            width,
            "sb",
            classes=7,
            classifier_activation=None,
            weights=tmp_path / file,
            padding="torch",
        )
        np.testing.assert_allclose(model(x), expected, atol=1e-4 * np.abs(expected).max())
    folded = sb_keras.fold(model)
    np.testing.assert_allclose(folded(x), expected, atol=1e-4 * np.abs(expected).max())
    assert sb_keras.profile(model).total.madds > 0
    if size == 64:  # where sizes are even, "same" pads at the end only
        other = getattr(sb_keras, name)(
            (size, size, 3), width, classes=7, classifier_activation=None, weights=tmp_path / file
        )
        assert np.abs(other(x) - expected).max() > 0.01 * np.abs(expected).max()


class Code:
    """A pickle of it would run code."""

    def __reduce__(self):
        return print, ("this code was run",)


def test_files_that_are_none(trained, tmp_path, capsys):
    name, width, network = trained

    def refused(match, path, builder=name):
        with pytest.raises(ValueError, match=match):
            getattr(sb_keras, builder)((32, 32, 3), width, weights=path)

    (tmp_path / "code.pth").write_bytes(pickle.dumps(Code()))
    refused("something else than tensors", tmp_path / "code.pth")
    torch.save({"state": Code()}, tmp_path / "code2.pth")
    refused("something else than tensors", tmp_path / "code2.pth")
    assert "was run" not in capsys.readouterr().out
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    refused("must hold a dictionary of tensors. Received: list", tmp_path / "list.pth")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:1000])
    refused("is damaged", tmp_path / "cut.pth")
    write_safetensors(network.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-1000])
    refused("is damaged", tmp_path / "cut.safetensors")
    others = {"MobileNetV2": "MnasNet", "MnasNet": "ShuffleNetV2", "ShuffleNetV2": "MobileNetV2"}
    refused("is no state dictionary of torchvision's", tmp_path / "w.pth", others[name])


def test_padding_of_dynamic_convolutions():
    with pytest.raises(ValueError, match='padding="torch" is not for dyconv'):
        sb_keras.MobileNetV2(attention="dyconv", padding="torch")
    with pytest.raises(ValueError, match="`padding` must be one of"):
        sb_keras.MobileNetV2(padding="valid")


def test_weights_in_bfloat16(tmp_path):
    """Which NumPy does not know, and weights that are still to be trained."""
    values = torch.randn(10, 1280, generator=torch.Generator().manual_seed(0))
    state = {"classifier.1.weight": values.bfloat16(), "classifier.1.bias": torch.nn.Parameter(values[:, 0])}
    torch.save(state, tmp_path / "w.pth")
    expected = values.bfloat16().float().numpy().T
    np.testing.assert_array_equal(read_torch(tmp_path / "w.pth", "mobilenet_v2")["predictions"][0], expected)
    raw = values.bfloat16().view(torch.int16).numpy().tobytes()
    entry = {"classifier.1.weight": {"dtype": "BF16", "shape": [10, 1280], "data_offsets": [0, len(raw)]}}
    header = json.dumps(entry).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + raw)
    found = read_torch(tmp_path / "w.safetensors", "mobilenet_v2")
    np.testing.assert_array_equal(found["predictions"][0], expected)
