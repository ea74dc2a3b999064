"""The pictures of a recipe: data sets by name, how they are split, and the batches that splits make."""

from recipes.data.loading import load as load
from recipes.data.split import Dataset as Dataset
from recipes.data.split import Split as Split
from recipes.data.split import middle as middle
from recipes.data.split import normalized as normalized
from recipes.data.split import to_pixels as to_pixels
