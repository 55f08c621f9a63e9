"""Defaults of MODEL: the flags that choose the architecture, and the backbones."""

from maskrcnn_benchmark.config.node import CfgNode

_C = CfgNode()
_C.MODEL = CfgNode()

# True: the proposal stage's boxes are the detections, there is no box head. FCOS and RetinaNet
# models say True too, with or without a mask head. False: a two-stage model with a box head.
_C.MODEL.RPN_ONLY = False
# The rules of the generation that the weights are from, a key of `config.convention.CONVENTIONS`:
# "legacy" (CenterMask, maskrcnn-benchmark), "detectron2" (CenterMask2) or "torchvision": width of
# a box, scores, distances, cells of maps, rounding, pasting, normalisers of losses
# (docs/extending.md).
_C.MODEL.CONVENTION = "legacy"
# Predict instance masks.
_C.MODEL.MASK_ON = False
# FCOS is the proposal stage. Takes effect together with RPN_ONLY True only, so that two-stage
# YAMLs, which do not know this key, build RPN models; RETINANET_ON wins over it.
_C.MODEL.FCOS_ON = True
# Re-score masks by their predicted IoU. Needs MASK_ON.
_C.MODEL.MASKIOU_ON = False
# Factor of `loss_maskiou` in the total loss.
_C.MODEL.MASKIOU_LOSS_WEIGHT = 1.0
# RetinaNet is the proposal stage.
_C.MODEL.RETINANET_ON = False
# Predict keypoints.
_C.MODEL.KEYPOINT_ON = False
# Where the model runs: "cuda", "cuda:1" or "cpu".
_C.MODEL.DEVICE = "cuda"
# The class of the whole model: "GeneralizedRCNN".
_C.MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
# True: one box regression shared by all foreground classes (box head of two-stage models).
_C.MODEL.CLS_AGNOSTIC_BBOX_REG = False
# Weights to start from: a path, an http(s) URL (cached), or catalog://NAME. "": random weights.
_C.MODEL.WEIGHT = ""
# Starts of names of the model's tensors, such as "roi_heads.mask", that may keep random weights
# although WEIGHT is a whole detector's file; other parts that it lacks are an error.
_C.MODEL.FRESH_PARTS = ()
# True: batch norm layers that are trained share their statistics over all processes.
_C.MODEL.USE_SYNCBN = False
# True: feature maps lie in memory as NHWC, which PyTorch calls channels_last. The same numbers up
# to rounding; a step on a CPU takes less time so. "auto": in training on a CPU.
_C.MODEL.CHANNELS_LAST = "auto"
# FCOS hands its detections to a mask head. Nothing without MASK_ON; with MASK_ON it is implied.
_C.MODEL.FCOS_MASK = False
# Number of classes of the data set, background included (COCO: 81). 0: the NUM_CLASSES keys of
# FCOS, RETINANET and ROI_BOX_HEAD decide, and those that the model uses must agree. When
# positive it decides, and those keys must hold the same number or be left at their default.
_C.MODEL.NUM_CLASSES = 0

_C.MODEL.DENSE = CfgNode()
# Name of the dense detector, a key of `config.families.FAMILIES`: "fcos", "retinanet", "rpn",
# "shapemask", "tensormask", "yolact", or one that a script registered. "": RETINANET_ON, FCOS_ON
# and RPN_ONLY choose. Settings that a detector has of its own are keys of MODEL.DENSE.SETTINGS.
_C.MODEL.DENSE.FAMILY = ""
# Settings that the detector has of its own: those of "shapemask", "tensormask" and "yolact" are in
# `settings.py` of their folders in `modeling/dense`, the other shipped ones have none.
_C.MODEL.DENSE.SETTINGS = CfgNode()

_C.MODEL.BACKBONE = CfgNode()
# Name of the convolutional body, a key of `registry.BACKBONES`, e.g. "R-50-FPN-RETINANET"
# (P3..P7), "R-50-FPN" (P2..P6), "R-50-C4" (one map of stride 16). An unknown name is answered with
# all known ones.
_C.MODEL.BACKBONE.CONV_BODY = "R-50-C4"
# The stem and the stages before this number get no gradient. 0: all are trained; 1: the stem is
# frozen; 2: stem and the first residual stage; and so on, up to 5.
_C.MODEL.BACKBONE.FREEZE_CONV_BODY_AT = 2
# Kept for old YAMLs; read by nothing (RESNETS.TRANS_FUNC chooses group norm).
_C.MODEL.BACKBONE.USE_GN = False

# Settings of a neck that no published model has; kept for old YAMLs, read by nothing.
_C.MODEL.NECK = CfgNode()
# Channels of the input maps, finest first.
_C.MODEL.NECK.IN_CHANNELS = (32, 64, 128, 256)
# Channels of every output map.
_C.MODEL.NECK.OUT_CHANNELS = 256
# True: an activation after each convolution.
_C.MODEL.NECK.ACTIVATION = False
# Kind of pooling (the blank is part of the original's default).
_C.MODEL.NECK.POOLING = " AVG"
# True: one convolution for all output maps.
_C.MODEL.NECK.SHARING_CONV = False
# Number of output maps.
_C.MODEL.NECK.NUM_OUTS = 5

_C.MODEL.FPN = CfgNode()
# True: group norm after the convolutions of the feature pyramid, which then have no bias unless
# BIAS_BEFORE_NORM keeps it.
_C.MODEL.FPN.USE_GN = False
# Norm behind those convolutions: "GN", "BN", "FrozenBN"; "": USE_GN decides.
_C.MODEL.FPN.NORM = ""
# True: convolutions of the feature pyramid have a bias also in front of a norm (RetinaMask).
_C.MODEL.FPN.BIAS_BEFORE_NORM = False
# True: ReLU after the convolutions of the feature pyramid.
_C.MODEL.FPN.USE_RELU = False
# How the pyramid joins a map with the coarser one above it: "sum" or, as TensorMask, "avg", the
# mean of both. Pyramids of other kinds ("-FPN-YOLACT", an HRNet's) do not read it.
_C.MODEL.FPN.FUSE_TYPE = "sum"

_C.MODEL.GROUP_NORM = CfgNode()
# Channels of a group; -1: NUM_GROUPS decides. Exactly one of the two is positive.
_C.MODEL.GROUP_NORM.DIM_PER_GP = -1
# Number of groups; -1: DIM_PER_GP decides.
_C.MODEL.GROUP_NORM.NUM_GROUPS = 32
# Added to the variance.
_C.MODEL.GROUP_NORM.EPSILON = 1e-5

# Batch norms that are trained ("...WithBatchNorm" in MODEL.RESNETS, and DarkNet's).
_C.MODEL.BATCH_NORM = CfgNode()
# Added to the variance.
_C.MODEL.BATCH_NORM.EPSILON = 1e-5
# Share of a batch in the running statistics.
_C.MODEL.BATCH_NORM.MOMENTUM = 0.1
# With fewer training images of a batch in each process than this, the norms are not trained.
_C.MODEL.BATCH_NORM.MIN_IMAGES = 0

_C.MODEL.RESNETS = CfgNode()
# Groups of the 3x3 convolutions. 1: ResNet; more: ResNeXt (32 in X-101-32x8d).
_C.MODEL.RESNETS.NUM_GROUPS = 1
# Channels of a group in the first residual stage (ResNet: 64; X-101-32x8d: 8).
_C.MODEL.RESNETS.WIDTH_PER_GROUP = 64
# True: the stride of a stage is in its first 1x1 convolution (MSRA and Caffe2 weights);
# False: in the 3x3 convolution (ResNeXt and torchvision weights).
_C.MODEL.RESNETS.STRIDE_IN_1X1 = True
# Residual block: "BottleneckWithFixedBatchNorm", "BottleneckWithGN", or "BottleneckWithBatchNorm",
# whose norms are trained (MODEL.BATCH_NORM).
_C.MODEL.RESNETS.TRANS_FUNC = "BottleneckWithFixedBatchNorm"
# Stem: "StemWithFixedBatchNorm", "StemWithGN" or "StemWithBatchNorm".
_C.MODEL.RESNETS.STEM_FUNC = "StemWithFixedBatchNorm"
# True: the stem's pooling pads even sides at the right and bottom alone (TensorFlow's "same").
_C.MODEL.RESNETS.PAD_STEM_AT_THE_END = False
# True: of the parts that FREEZE_CONV_BODY_AT freezes batch norms learn, if they are trained ones:
# the convolutions alone are frozen (ShapeMask).
_C.MODEL.RESNETS.TRAIN_FROZEN_NORMS = False
# Dilation of the fifth stage of C4 and C5 models: 1 or 2 (2 keeps the stride at 16). With a
# feature pyramid it is 1.
_C.MODEL.RESNETS.RES5_DILATION = 1
# Channels of the pyramid's maps (256; 128 in CenterMask-Lite), also of MobileNetV2. C4 and C5
# models, which have no pyramid, return their stage's own channels, whatever stands here.
_C.MODEL.RESNETS.BACKBONE_OUT_CHANNELS = 256 * 4
# Channels of the first residual stage's output; doubles with each stage.
_C.MODEL.RESNETS.RES2_OUT_CHANNELS = 256
# Channels of the stem's output.
_C.MODEL.RESNETS.STEM_OUT_CHANNELS = 64
# For each of the four stages, first stage first: True makes its 3x3 convolutions deformable.
_C.MODEL.RESNETS.STAGE_WITH_DCN = (False, False, False, False)
# True: deformable convolutions also modulate their samples (version 2).
_C.MODEL.RESNETS.WITH_MODULATED_DCN = False
# Groups of channels that share one set of offsets.
_C.MODEL.RESNETS.DEFORMABLE_GROUPS = 1
# Of the blocks of such a stage the first and then every DCN_INTERVAL-th is deformable; 1: all.
_C.MODEL.RESNETS.DCN_INTERVAL = 1
# Kind of these layers: "DFConv2d", or "ModulatedDeformConvPack": version 2 with a bias, whose
# offsets start at 0 (YOLACT++; needs WITH_MODULATED_DCN).
_C.MODEL.RESNETS.DCN_LAYER = "DFConv2d"

_C.MODEL.VOVNET = CfgNode()
# Kept for old YAMLs; read by nothing (MODEL.WEIGHT names the weights).
_C.MODEL.VOVNET.PRETRAINED = ""
# True: group norm instead of frozen batch norm.
_C.MODEL.VOVNET.USE_GN = False
# Kept for old YAMLs; read by nothing (the name of the body decides its channels).
_C.MODEL.VOVNET.OUT_CHANNELS = 256
# Channels of the pyramid's maps (128 in CenterMask-Lite).
_C.MODEL.VOVNET.BACKBONE_OUT_CHANNELS = 256
# For each of the four stages, first stage first: True makes its 3x3 convolutions deformable.
_C.MODEL.VOVNET.STAGE_WITH_DCN = (False, False, False, False)
# True: deformable convolutions also modulate their samples (version 2).
_C.MODEL.VOVNET.WITH_MODULATED_DCN = False
# Groups of channels that share one set of offsets.
_C.MODEL.VOVNET.DEFORMABLE_GROUPS = 1

# Settings of HRNet, which the original announced but never had.
_C.MODEL.HRNET = CfgNode()
_C.MODEL.HRNET.FPN = CfgNode()
# Kind of the pyramid: "HRFPN".
_C.MODEL.HRNET.FPN.TYPE = "HRFPN"
# Channels of the pyramid's maps.
_C.MODEL.HRNET.FPN.OUT_CHANNEL = 256
# Kept for old YAMLs; read by nothing (the name of the backbone decides: stride 1 for P2..P6, which
# is "-FPN", and 2 for P3..P7, "-FPN-RETINANET").
_C.MODEL.HRNET.FPN.CONV_STRIDE = 2

_C.MODEL.FBNET = CfgNode()
# Name of a built-in architecture: "default", "xirb16d_dsmask", "cham_v1a", "cham_v2", ...
_C.MODEL.FBNET.ARCH = "default"
# An architecture of one's own as JSON text; "": ARCH decides.
_C.MODEL.FBNET.ARCH_DEF = ""
# Normalisation: "bn" (trained), "af" (frozen affine), "gn" (group norm), "" (none).
_C.MODEL.FBNET.BN_TYPE = "bn"
# Factor of all channel counts.
_C.MODEL.FBNET.SCALE_FACTOR = 1.0
# Channel counts are rounded to a multiple of this number.
_C.MODEL.FBNET.WIDTH_DIVISOR = 1
# True: no normalisation after depthwise convolutions.
_C.MODEL.FBNET.DW_CONV_SKIP_BN = True
# True: no ReLU after depthwise convolutions.
_C.MODEL.FBNET.DW_CONV_SKIP_RELU = True
# Factor of the channels of the box head's last layer; 0: not scaled.
_C.MODEL.FBNET.DET_HEAD_LAST_SCALE = 1.0
# Numbers of the blocks that make the box head; empty: the architecture's own.
_C.MODEL.FBNET.DET_HEAD_BLOCKS = []
# Stride of the box head's first block; 0: the architecture's own.
_C.MODEL.FBNET.DET_HEAD_STRIDE = 0
# Factor of the channels of the keypoint head's last layer; 0: not scaled.
_C.MODEL.FBNET.KPTS_HEAD_LAST_SCALE = 0.0
# Numbers of the blocks that make the keypoint head; empty: the architecture's own.
_C.MODEL.FBNET.KPTS_HEAD_BLOCKS = []
# Stride of the keypoint head's first block; 0: the architecture's own.
_C.MODEL.FBNET.KPTS_HEAD_STRIDE = 0
# Factor of the channels of the mask head's last layer; 0: not scaled.
_C.MODEL.FBNET.MASK_HEAD_LAST_SCALE = 0.0
# Numbers of the blocks that make the mask head; empty: the architecture's own.
_C.MODEL.FBNET.MASK_HEAD_BLOCKS = []
# Stride of the mask head's first block; 0: the architecture's own.
_C.MODEL.FBNET.MASK_HEAD_STRIDE = 0
# Number of the architecture's blocks that make the RPN head; 0: all of its RPN blocks.
_C.MODEL.FBNET.RPN_HEAD_BLOCKS = 0
# Normalisation of the RPN head, as in BN_TYPE; "": none.
_C.MODEL.FBNET.RPN_BN_TYPE = ""
