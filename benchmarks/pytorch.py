"""MobileNetV2 with every attention in PyTorch, as its users write it."""

import torch
from torch import nn
from torch.nn import functional

EXPERTS, TEMPERATURE, LAMBDA = 4, 30.0, 0.1


class MobileNetV2(nn.Module):
    """The network of `benchmarks.networks.Network` with an attention of a kind."""

    def __init__(self, network, kind, classes):
        super().__init__()
        filters, stride = network.stem
        features = [conv_norm(3, filters, 3, stride), nn.ReLU6(inplace=True)]
        features += [InvertedResidual(kind, network.cifar, *block) for block in network.blocks()]
        *_, (_, _, filters, _) = network.blocks()
        features += [conv_norm(filters, 1280), nn.ReLU6(inplace=True)]
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.0 if network.cifar else 0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class InvertedResidual(nn.Module):
    def __init__(self, kind, cifar, channels, expanded, filters, stride):
        super().__init__()
        units = []
        if cifar or expanded != channels:
            units += [Unit(kind, channels, expanded), nn.ReLU6(inplace=True)]
        units += [
            Unit(kind, expanded, expanded, stride, expanded // 6, depthwise=True),
            nn.ReLU6(inplace=True),
            Unit(kind, expanded, filters),
        ]
        if kind == "se-block":
            units.append(SqueezeExcite(filters))
        self.body = nn.Sequential(*units)
        self.shortcut = None
        if stride == 1 and channels == filters:
            self.shortcut = nn.Identity()
        elif stride == 1 and cifar:
            self.shortcut = conv_norm(channels, filters)

    def forward(self, x):
        return self.body(x) if self.shortcut is None else self.shortcut(x) + self.body(x)


def conv_norm(channels, filters, kernel_size=1, stride=1):
    conv = nn.Conv2d(channels, filters, kernel_size, stride, kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(filters))


class Unit(nn.Module):
    """Convolution, attention, batch normalization."""

    def __init__(self, kind, channels, filters, stride=1, hidden_units=None, depthwise=False):
        super().__init__()
        kernel_size = 3 if depthwise else 1
        arguments = {"stride": stride, "padding": kernel_size // 2, "groups": channels if depthwise else 1}
        self.kind = kind
        if kind == "dyconv":
            self.conv = DynamicConv2d(channels, filters, kernel_size, **arguments)
        else:
            self.conv = nn.Conv2d(channels, filters, kernel_size, bias=False, **arguments)
        if kind in ("se", "sb"):
            self.branch = branch(channels, hidden_units or filters, filters)
        if kind == "sb":
            self.balance = nn.Parameter(torch.full((filters,), LAMBDA))
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x):
        y = self.conv(x)
        if self.kind == "se":
            y = y * self.branch(x).sigmoid()[:, :, None, None]
        elif self.kind == "sb":
            y = y + (self.balance * self.branch(x).tanh())[:, :, None, None]
        return self.norm(y)


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.branch = branch(channels, channels, channels)

    def forward(self, x):
        return x * self.branch(x).sigmoid()[:, :, None, None]


class DynamicConv2d(nn.Module):
    """The usual trick: the batch is moved into the groups of one convolution."""

    def __init__(self, channels, filters, kernel_size, stride, padding, groups):
        super().__init__()
        self.routing = branch(channels, max(1, channels // 4), EXPERTS, bias=True)
        shape = (EXPERTS, filters, channels // groups, kernel_size, kernel_size)
        self.weight = nn.Parameter(torch.stack([nn.init.kaiming_normal_(torch.empty(shape[1:]))] * EXPERTS))
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, x):
        batch, channels, height, width = x.shape
        weights = functional.softmax(self.routing(x) / TEMPERATURE, dim=1)
        kernels = (weights @ self.weight.flatten(1)).view(-1, *self.weight.shape[2:])
        y = functional.conv2d(
            x.reshape(1, batch * channels, height, width),
            kernels,
            stride=self.stride,
            padding=self.padding,
            groups=batch * self.groups,
        )
        return y.view(batch, -1, *y.shape[2:])


def branch(channels, hidden_units, units, bias=False):
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, hidden_units, bias=bias),
        nn.BatchNorm1d(hidden_units),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_units, units, bias=bias),
        nn.BatchNorm1d(units),
    )
