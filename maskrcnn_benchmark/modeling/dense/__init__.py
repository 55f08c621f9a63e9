"""Dense detectors: what finds boxes at every place of the feature maps.

A detector of this package is a folder here and a line below.
"""

from maskrcnn_benchmark.config.families import FAMILIES
from maskrcnn_benchmark.modeling.dense.fcos.fcos import FCOS
from maskrcnn_benchmark.modeling.dense.retinanet.retinanet import RETINANET
from maskrcnn_benchmark.modeling.dense.rpn.proposal_network import RPN
from maskrcnn_benchmark.modeling.dense.shapemask.shapemask import SHAPEMASK
from maskrcnn_benchmark.modeling.dense.tensormask.tensormask import TENSORMASK
from maskrcnn_benchmark.modeling.dense.yolact.yolact import YOLACT

FAMILIES.register("fcos", FCOS)
FAMILIES.register("retinanet", RETINANET)
FAMILIES.register("rpn", RPN)
FAMILIES.register("shapemask", SHAPEMASK)
FAMILIES.register("tensormask", TENSORMASK)
FAMILIES.register("yolact", YOLACT)
