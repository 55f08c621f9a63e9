"""The tree of all settings with their defaults; `docs/config_reference.md` is made from it.

The comment in front of a key is its documentation: meaning, unit, allowed values.
"""

from maskrcnn_benchmark.config import defaults_heads, defaults_model
from maskrcnn_benchmark.config.convention import settings_of
from maskrcnn_benchmark.config.node import CfgNode

_C = CfgNode()

_C.MODEL = CfgNode({**defaults_model._C.MODEL, **defaults_heads._C.MODEL})
_C.MODEL.DENSE.SETTINGS.set_new_allowed(True)

_C.INPUT = CfgNode()
# Lengths of the shorter image side in px; training draws one for each image.
_C.INPUT.MIN_SIZE_TRAIN = (800,)
# First and last of a range of lengths (both included) to draw from instead; -1: not used.
_C.INPUT.MIN_SIZE_RANGE_TRAIN = (-1, -1)
# Greatest length of the longer image side in training, px.
_C.INPUT.MAX_SIZE_TRAIN = 1333
# Length of the shorter image side in evaluation, px.
_C.INPUT.MIN_SIZE_TEST = 800
# Greatest length of the longer image side in evaluation, px.
_C.INPUT.MAX_SIZE_TEST = 1333
# Whether all photos of a batch are drawn the same size (and diagonal flip), in all processes:
# less padding, so quicker steps, and on several GPUs none waits for the one with the largest.
_C.INPUT.SAME_SHAPE_IN_BATCH = False
# What photos become, a key of `data.transforms.RESIZE_RULES`: "shorter_side" keeps the aspect ratio
# within the sizes above; so does "shorter_side_floats", without rounding pixels (torchvision);
# "square" squeezes them into squares of MIN_SIZE_TEST px, in training, too (YOLACT); "canvas" fits
# them into such squares, to which batches are padded (ShapeMask).
_C.INPUT.RESIZE_RULE = "shorter_side"
# Lowest and highest random factor of a training photo that is fitted into a canvas; what is too
# large is cut off. (1.0, 1.0): none.
_C.INPUT.CANVAS_SCALES_TRAIN = (0.8, 1.2)
# Random changes of training photos before that, keys of `data.transforms.AUGMENTATIONS`: SSD's
# "photometric", "expand" and "crop", in this order.
_C.INPUT.AUGMENTATIONS_TRAIN = ()
# How "shorter_side" resizes photos: "pil", with the pixels of the original program, or "fast", one
# step of 255 off at most; but JPEG files of twice the size that is needed, or more, are read at a
# half, quarter or eighth of theirs.
_C.INPUT.RESIZE_BACKEND = "pil"
# Subtracted from the channels: in the order B, G, R on 0..255 if TO_BGR255, else R, G, B on 0..1.
_C.INPUT.PIXEL_MEAN = [102.9801, 115.9465, 122.7717]
# Divides the channels, after the mean is subtracted.
_C.INPUT.PIXEL_STD = [1.0, 1.0, 1.0]
# True: images enter as BGR, 0..255 (Caffe weights); False: as RGB, 0..1.
_C.INPUT.TO_BGR255 = True
# Probability of a left-right flip in training, 0..1.
_C.INPUT.FLIP_PROB_TRAIN = 0.5
# Probability of a top-bottom flip in training, 0..1: for what is seen from above.
_C.INPUT.VERTICAL_FLIP_PROB_TRAIN = 0.0
# Probability that x and y change places in training, 0..1: with the other flips all quarter turns.
_C.INPUT.DIAGONAL_FLIP_PROB_TRAIN = 0.0
# A training photo's brightness is multiplied by a number of 1 - this to 1 + this; 0: as it is.
_C.INPUT.BRIGHTNESS = 0.0
# Likewise its contrast.
_C.INPUT.CONTRAST = 0.0
# Likewise its saturation.
_C.INPUT.SATURATION = 0.0
# The part of the colour circle, up to 0.5, by which a training photo's hues move at most.
_C.INPUT.HUE = 0.0

_C.DATASETS = CfgNode()
# The data sets to train on: names in `paths_catalog.DatasetCatalog`, or paths (docs/datasets.md).
_C.DATASETS.TRAIN = ()
# The data sets to evaluate on.
_C.DATASETS.TEST = ()
# The format of those named by their path: a name in `data.formats.FORMATS`; "": look.
_C.DATASETS.FORMAT = ""

_C.DATALOADER = CfgNode()
# Processes that read images; 0: the main process reads them.
_C.DATALOADER.NUM_WORKERS = 4
# Height and width of a batch are padded to a multiple of this many px (32 for pyramids); 0: off.
_C.DATALOADER.SIZE_DIVISIBILITY = 0
# True: a batch holds either landscape or portrait images, which wastes less padding.
_C.DATALOADER.ASPECT_RATIO_GROUPING = True
# False also trains on photos without any annotation, which show what is background.
_C.DATALOADER.FILTER_EMPTY_ANNOTATIONS = True

_C.SOLVER = CfgNode()
# Number of iterations (batches).
_C.SOLVER.MAX_ITER = 40000
# Learning rate after the warm-up.
_C.SOLVER.BASE_LR = 0.001
# Factor of the learning rate of every parameter that has "bias" in its name.
_C.SOLVER.BIAS_LR_FACTOR = 2
# Momentum of SGD.
_C.SOLVER.MOMENTUM = 0.9
# Weight decay of the other parameters.
_C.SOLVER.WEIGHT_DECAY = 0.0005
# Weight decay of the parameters that have "bias" in their name.
_C.SOLVER.WEIGHT_DECAY_BIAS = 0
# Weight decay of the parameters of trained norm layers, biases too; negative: as other parameters.
_C.SOLVER.WEIGHT_DECAY_NORM = -1.0
# Factor of the learning rate at each of the STEPS.
_C.SOLVER.GAMMA = 0.1
# Iterations at which the learning rate falls (LR_SCHEDULE "multistep").
_C.SOLVER.STEPS = (30000,)
# Factor of the learning rate at the start of the warm-up.
_C.SOLVER.WARMUP_FACTOR = 1.0 / 3
# Length of the warm-up in iterations; 0: none.
_C.SOLVER.WARMUP_ITERS = 500
# How the factor goes to 1: "linear", or "constant" until the end of the warm-up.
_C.SOLVER.WARMUP_METHOD = "linear"
# Iterations between two checkpoints.
_C.SOLVER.CHECKPOINT_PERIOD = 10000
# How many of these are kept, the newest; 0: all. model_final and model_best always are.
_C.SOLVER.KEEP_CHECKPOINTS = 0
# Iterations between two evaluations during training; 0: none.
_C.SOLVER.TEST_PERIOD = 0
# Whether the checkpoint with the best evaluation so far is kept as model_best.pth and is what the
# training results in: by AP of masks, or else of keypoints or boxes, on the first test set.
_C.SOLVER.KEEP_BEST = False
# Evaluations in a row without a better one after which the training ends; 0: never. With it the
# best is kept, too.
_C.SOLVER.EARLY_STOP_PATIENCE = 0
# Images of a batch over all processes; a multiple of their number.
_C.SOLVER.IMS_PER_BATCH = 16
# "SGD" (as published) or "AdamW".
_C.SOLVER.OPTIMIZER = "SGD"
# After the warm-up: "multistep" (falls by GAMMA at each of the STEPS) or "cosine" (to 0 at
# MAX_ITER).
_C.SOLVER.LR_SCHEDULE = "multistep"
# Gradients are scaled down to this norm over all parameters; 0: off.
_C.SOLVER.CLIP_GRAD_NORM = 0.0
# Type in which layers are trained where that is safe: "off" (float32, as published), "bf16",
# "fp16" (CUDA only; the loss is scaled), or "auto": bf16 where the device has instructions for it.
_C.SOLVER.AMP = "off"
# How training computes 3x3 convolutions with stride 1: "plain" (PyTorch's), "fast" (a quarter of
# the multiplications, other rounding; CPU only), or "auto": fast where the processor has a kernel.
_C.SOLVER.CONV_3X3 = "auto"
# Decay of an exponential moving average of the weights, which is what is evaluated and saved, e.g.
# 0.998; early in a training it is lower. 0: no average.
_C.SOLVER.EMA = 0.0
# Iterations between two lines of the log; 0: only the first and the last one have a line.
_C.SOLVER.LOG_PERIOD = 20

_C.TEST = CfgNode()
# Results to check after an evaluation: entries [task, metric, [mean, standard deviation]] in
# fractions of 1, e.g. ["segm", "AP", [0.364, 0.002]]. Empty: no check.
_C.TEST.EXPECTED_RESULTS = []
# Data sets that EXPECTED_RESULTS are about; evaluations of others are not compared. (): of all.
_C.TEST.EXPECTED_RESULTS_DATASETS = ()
# How many standard deviations a result may be away.
_C.TEST.EXPECTED_RESULTS_SIGMA_TOL = 4
# Images of a batch over all processes; a multiple of their number; 0: one image a process.
_C.TEST.IMS_PER_BATCH = 8
# Detections kept for an image (FCOS and RetinaNet; two-stage: ROI_HEADS.DETECTIONS_PER_IMG).
_C.TEST.DETECTIONS_PER_IMG = 50
# Program that computes COCO's numbers: "hotcoco" (fast) or "pycocotools" (the reference).
_C.TEST.COCO_BACKEND = "hotcoco"
# How a trained model computes its detections, a key of `engine.modes.INFERENCE_MODES`: "plain" as
# it is trained; "fast" from fewer and faster layers, the same up to rounding; "int16" the same with
# products of 16-bit integers, boxes off by hundredths of a pixel (AVX-512 VNNI); "bf16" all in
# 16 bits, less exactly; "auto" the fastest of these, if a probe finds the same boxes. With
# "+compile" behind any of the first four PyTorch compiles backbone and head at the first photo.
_C.TEST.INFERENCE_MODE = "fast"

# Folder of logs, checkpoints and results.
_C.OUTPUT_DIR = "."
# Seed of initial weights, sampling and augmentation.
_C.SEED = 0
# Python file with `DatasetCatalog` and `ModelCatalog`, relative to the current folder; the
# default stands for the package's own.
_C.PATHS_CATALOG = "maskrcnn_benchmark/config/paths_catalog.py"

_C.add_presets("MODEL.CONVENTION", settings_of)
_C.freeze()


def get_default_config() -> CfgNode:
    """A fresh tree of all settings with their defaults."""
    config: CfgNode = _C.clone()
    config.defrost()
    return config
