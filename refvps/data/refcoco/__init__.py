"""RefCOCO, RefCOCO+ and RefCOCOg: sentences that point at objects of COCO pictures, for training.

:func:`load_refcoco` is all that a trainer needs. The pickles they come in are read without unpickling.
"""

from refvps.data.refcoco.instances import Segmentation, mask_of
from refvps.data.refcoco.references import DATASETS, Reference, Sentence, load_refcoco

__all__ = ["DATASETS", "Reference", "Segmentation", "Sentence", "load_refcoco", "mask_of"]
