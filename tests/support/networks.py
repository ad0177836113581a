"""Small torch networks for tests, one per head and shape of trouble; weights from a seed."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network in eval mode, its weights and BatchNorm statistics drawn from the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                _draw_statistics(module)
    return network.eval()


def _draw_statistics(norm: nn.BatchNorm2d) -> None:
    """Statistics unlike their initial 0 and 1, so that a forgotten BatchNorm shows."""
    with torch.no_grad():
        norm.running_mean.normal_(0, 0.2)  # type: ignore[union-attr, operator]
        norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.2)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a sum, as in ResNet; one ReLU module used twice, in place."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.skip = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.skip(x))


class ResidualNet(nn.Module):
    """A small ResNet: stem and three blocks at 1/2, 1/4 and 1/8 of the input; logits [N, K]."""

    def __init__(self, classes: int = 10, channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 1, 1)
        self.layer1 = ResidualBlock(width, width, 2)
        self.layer2 = ResidualBlock(width, 2 * width, 2)
        self.layer3 = ResidualBlock(2 * width, 3 * width, 2)
        self.head = nn.Linear(3 * width, classes)

    def features(self, x: Tensor) -> Tensor:
        return self.layer3(self.layer2(self.layer1(self.stem(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class VggNet(nn.Module):
    """A small VGG: convolutions, in-place ReLU and max-pooling in one Sequential."""

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        widths = (8, 12, 16)
        layers: list[nn.Module] = []
        for before, width in zip((channels, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, width, 3, 1, 1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 24), nn.ReLU(inplace=True), nn.Linear(24, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)))


class SmoothNet(nn.Module):
    """Softplus and tanh only: differentiable everywhere, for comparing gradients to float64."""

    def __init__(self, classes: int = 5, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 3, 2, 1)
        self.soft = nn.Softplus()
        self.conv2 = nn.Conv2d(6, 8, 3, 2, 1)
        self.tanh = nn.Tanh()
        self.head = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.tanh(self.conv2(self.soft(self.conv1(x)))).mean((2, 3)))


class BatchNormThenInPlace(nn.Module):
    """A trap: an in-place ReLU changes what the BatchNorm put out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.norm(self.conv(x))).mean((2, 3)))


class ConvBatchNorm(nn.Module):
    """A trap: the exporter folds the BatchNorm into the convolution, whose output then is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, 2, 1)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.conv(x))).relu().mean((2, 3)))


class SoftmaxAtTheEnd(nn.Module):
    """A network that puts out probabilities instead of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResidualNet()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).softmax(1)


class SigmoidAtTheEnd(nn.Module):
    """A network that puts out probabilities of findings instead of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResidualNet(classes=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).sigmoid()


class SigmoidHeads(nn.Module):
    """Findings of several heads, each with its own sigmoid, in one row."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResidualNet(classes=6)
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x)
        return torch.cat([head(features).sigmoid() for head in self.heads], 1)


class SigmoidThenFlat(nn.Module):
    """Probabilities of findings as maps of one pixel, made flat."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResidualNet(classes=3)
        self.end = nn.Sequential(nn.Sigmoid(), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.body(x)[:, :, None, None])


class StandardisedKernel(nn.Module):
    """A convolution whose kernel is standardised on each call, then a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(6, 3, 3, 3))
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel - self.kernel.mean((1, 2, 3), keepdim=True)
        kernel = kernel / (kernel.std((1, 2, 3), keepdim=True) + 1e-5)
        return self.head(self.norm(nn.functional.conv2d(x, kernel)).relu().mean((2, 3)))


class NormalisedKernel(nn.Module):
    """A convolution under weight normalisation, and one more before a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        weight_norm = nn.utils.parametrizations.weight_norm
        self.conv1 = weight_norm(nn.Conv2d(3, 6, 3, 2, 1))
        self.conv2 = weight_norm(nn.Conv2d(6, 6, 3, 2, 1))
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv2(self.conv1(x).relu())).relu().mean((2, 3)))


class TwoOutputs(nn.Module):
    """A network that puts out a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResidualNet()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.body(x)
        return logits, logits


class ScoreMap(nn.Module):
    """A network without a pooling: class scores [N, K, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class BatchDecides(nn.Module):
    """A network whose path depends on the numbers it gets, which no graph can say."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResidualNet()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if x.sum() > 0 else self.body(-x)


class TwoInputs(nn.Module):
    """A network of two images."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ResidualNet()

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        return self.body(x) - self.body(prior)


class VolumeNet(nn.Module):
    """A network of volumes [N, C, D, H, W]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3, 4))


def residual_net(classes: int = 10, channels: int = 3) -> nn.Module:
    """Softmax or, by its head's name, anything else: logits [N, classes]."""
    return seeded(lambda: ResidualNet(classes, channels))


def vgg_net(classes: int = 10) -> nn.Module:
    """The small VGG, [N, classes]."""
    return seeded(lambda: VggNet(classes))


def smooth_net(classes: int = 5) -> nn.Module:
    """The smooth network, [N, classes]."""
    return seeded(lambda: SmoothNet(classes))
