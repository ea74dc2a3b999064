# The functions `attach`, `fold` and `profile` are in modules of other names: an imported module becomes an
# attribute of its package, and would hide a function of the same name.

from . import callbacks as callbacks
from . import detection as detection
from . import layers as layers
from . import losses as losses
from . import models as models
from . import optimizers as optimizers
from .attaching import attach as attach
from .attention import Attention as Attention
from .folding import fold as fold
from .models import CifarMobileNetV2 as CifarMobileNetV2
from .models import MnasNet as MnasNet
from .models import MobileNetV2 as MobileNetV2
from .models import ShuffleNetV2 as ShuffleNetV2
from .models import SSDLite as SSDLite
from .profiling import profile as profile

__version__: str
