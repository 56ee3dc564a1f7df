"""Two looks at a photo: as it is, where small defects show, and at half its size, where large ones do."""

from torch import Tensor, nn

from qc_lightning.models.backbones import Backbone


class Pyramid(Backbone):
    """The later half of a backbone's maps, of the photo at half its size, followed by all maps at full size.

    The earlier maps at half size were left out because folds liked it better without them: they see fine texture, and
    that the full-size look sees better.

    Args:
        whole: the backbone; both looks share its weights.
    """

    def __init__(self, whole: Backbone) -> None:
        super().__init__((whole.mean.flatten().tolist(), whole.std.flatten().tolist()))
        self.whole, self._later = whole, max(1, whole.count // 2)
        self.count = self._later + whole.count

    def forward(self, image: Tensor) -> list[Tensor]:
        """Halve by the mean of each two by two pixels, so that fine texture does not alias."""
        half: list[Tensor] = self.whole(nn.functional.avg_pool2d(image, 2))
        return [*half[-self._later :], *self.whole(image)]

    def represent(self, last: Tensor) -> Tensor:
        """Of the full-size photo's last map."""
        return self.whole.represent(last)

    @property
    def cam_layers(self) -> list[nn.Module]:
        """As without the second look."""
        return self.whole.cam_layers

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """The shared weights, once."""
        return self.whole.stage_parameters()
