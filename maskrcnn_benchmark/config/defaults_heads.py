"""Defaults of MODEL: proposal stages (RPN, FCOS, RetinaNet) and RoI heads."""

from maskrcnn_benchmark.config.node import CfgNode

_C = CfgNode()
_C.MODEL = CfgNode()

_C.MODEL.RPN = CfgNode()
# True: proposals on every pyramid level, each with one anchor size.
_C.MODEL.RPN.USE_FPN = False
# Sides of the anchors in px: all on one map, or (USE_FPN) one for each level, finest first;
# ((32, 45), (64, 90), ...) gives levels several.
_C.MODEL.RPN.ANCHOR_SIZES = (32, 64, 128, 256, 512)
# Strides of the maps in px, one for each level.
_C.MODEL.RPN.ANCHOR_STRIDE = (16,)
# Height / width of the anchors.
_C.MODEL.RPN.ASPECT_RATIOS = (0.5, 1.0, 2.0)
# Anchors that stick out of the image by more than this many px are not trained on; negative:
# all are.
_C.MODEL.RPN.STRADDLE_THRESH = 0
# An anchor is positive at an IoU >= this with a ground truth (or when it is the best one).
_C.MODEL.RPN.FG_IOU_THRESHOLD = 0.7
# An anchor is negative below this IoU; those between the two thresholds are ignored.
_C.MODEL.RPN.BG_IOU_THRESHOLD = 0.3
# Anchors drawn from an image for the loss.
_C.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 256
# Share of positives aimed at among them, 0..1.
_C.MODEL.RPN.POSITIVE_FRACTION = 0.5
# Candidates kept on each level before NMS, in training.
_C.MODEL.RPN.PRE_NMS_TOP_N_TRAIN = 12000
# Candidates kept on each level before NMS, in evaluation.
_C.MODEL.RPN.PRE_NMS_TOP_N_TEST = 6000
# Proposals kept on each level after NMS, in training.
_C.MODEL.RPN.POST_NMS_TOP_N_TRAIN = 2000
# Proposals kept on each level after NMS, in evaluation.
_C.MODEL.RPN.POST_NMS_TOP_N_TEST = 1000
# NMS suppresses proposals at an IoU greater than this.
_C.MODEL.RPN.NMS_THRESH = 0.7
# Proposals with a side shorter than this many px are dropped.
_C.MODEL.RPN.MIN_SIZE = 0
# Proposals kept over all levels, in training (USE_FPN only); see FPN_POST_NMS_PER_BATCH.
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TRAIN = 2000
# True: that number is for the whole batch of a process, as in Detectron; False: for each image.
_C.MODEL.RPN.FPN_POST_NMS_PER_BATCH = True
# Proposals kept over all levels, in evaluation: for each image (USE_FPN only).
_C.MODEL.RPN.FPN_POST_NMS_TOP_N_TEST = 2000
# Convolutions in front of its two outputs (ConvTowerRPNHead; SingleConvRPNHead has one).
_C.MODEL.RPN.NUM_CONVS = 2
# Name of the head, a key of `registry.RPN_HEADS`.
_C.MODEL.RPN.RPN_HEAD = "SingleConvRPNHead"

_C.MODEL.FCOS = CfgNode()
# Number of classes, background included; see MODEL.NUM_CLASSES.
_C.MODEL.FCOS.NUM_CLASSES = 81
# Strides of the pyramid levels in px, finest first.
_C.MODEL.FCOS.FPN_STRIDES = [8, 16, 32, 64, 128]
# Foreground probability that the classification bias stands for at the start, 0..1.
_C.MODEL.FCOS.PRIOR_PROB = 0.01
# Candidates need a class probability greater than this, before centerness multiplies it.
_C.MODEL.FCOS.INFERENCE_TH = 0.05
# NMS within a class suppresses at an IoU greater than this.
_C.MODEL.FCOS.NMS_TH = 0.6
# Candidates kept on each level before NMS.
_C.MODEL.FCOS.PRE_NMS_TOP_N = 1000
# Focal loss: weight of the positives, 0..1.
_C.MODEL.FCOS.LOSS_ALPHA = 0.25
# Focal loss: exponent that plays down what is already right.
_C.MODEL.FCOS.LOSS_GAMMA = 2.0
# True: only locations near a box's centre are positive; False: all locations inside the box.
_C.MODEL.FCOS.CENTER_SAMPLE = False
# Half side of that centre square, in strides of the level.
_C.MODEL.FCOS.POS_RADIUS = 1.5
# Box loss: "iou" (-log IoU), "linear_iou" (1 - IoU) or "giou".
_C.MODEL.FCOS.LOC_LOSS_TYPE = "iou"
# Locations in each cell of a map: 1, 4 or 5.
_C.MODEL.FCOS.DENSE_POINTS = 1
# Convolutions of each tower.
_C.MODEL.FCOS.NUM_CONVS = 4
# Detections of an image that become proposals of the mask head in training, to which the ground
# truth is added.
_C.MODEL.FCOS.POST_NMS_TOP_N_TRAIN = 100
# Head, a key of `registry.FCOS_HEADS`: "FCOSHead" (two towers) or "FCOSSharedHead" (one tower for
# classes and boxes).
_C.MODEL.FCOS.HEAD = "FCOSHead"
# True: the input of a tower is added to its output.
_C.MODEL.FCOS.RESIDUAL_CONNECTION = False
# For each level the range of max(left, top, right, bottom) in px that it is responsible for,
# both ends included. -1: no lower end.
_C.MODEL.FCOS.TARGET_ASSIGN = [[-1, 64], [64, 128], [128, 256], [256, 512], [512, 100000000]]

_C.MODEL.RETINANET = CfgNode()
# Number of classes, background included; see MODEL.NUM_CLASSES.
_C.MODEL.RETINANET.NUM_CLASSES = 81
# Sides of the smallest anchor of each level in px.
_C.MODEL.RETINANET.ANCHOR_SIZES = (32, 64, 128, 256, 512)
# Height / width of the anchors.
_C.MODEL.RETINANET.ASPECT_RATIOS = (0.5, 1.0, 2.0)
# Strides of the pyramid levels in px, finest first.
_C.MODEL.RETINANET.ANCHOR_STRIDES = (8, 16, 32, 64, 128)
# Kept for old YAMLs; read by nothing (all anchors are trained on, as in the original).
_C.MODEL.RETINANET.STRADDLE_THRESH = 0
# Ratio of the anchor sizes of two neighbouring levels.
_C.MODEL.RETINANET.OCTAVE = 2.0
# Anchor sizes within an octave.
_C.MODEL.RETINANET.SCALES_PER_OCTAVE = 3
# P6 is computed from C5 (True) or from P5 (False). FCOS models read it too.
_C.MODEL.RETINANET.USE_C5 = True
# Convolutions of each tower.
_C.MODEL.RETINANET.NUM_CONVS = 4
# True: group norm after each convolution of the towers, which keep their bias (RetinaMask).
_C.MODEL.RETINANET.USE_GN = False
# Divisor of the box loss.
_C.MODEL.RETINANET.BBOX_REG_WEIGHT = 4.0
# Box loss: where smooth L1 turns from quadratic to linear.
_C.MODEL.RETINANET.BBOX_REG_BETA = 0.11
# Candidates kept on each level before NMS.
_C.MODEL.RETINANET.PRE_NMS_TOP_N = 1000
# An anchor is positive at an IoU >= this with a ground truth (or when it is the best one).
_C.MODEL.RETINANET.FG_IOU_THRESHOLD = 0.5
# An anchor is negative below this IoU; those between the two thresholds are ignored.
_C.MODEL.RETINANET.BG_IOU_THRESHOLD = 0.4
# Focal loss: weight of the positives, 0..1.
_C.MODEL.RETINANET.LOSS_ALPHA = 0.25
# Focal loss: exponent that plays down what is already right.
_C.MODEL.RETINANET.LOSS_GAMMA = 2.0
# Foreground probability that the classification bias stands for at the start, 0..1.
_C.MODEL.RETINANET.PRIOR_PROB = 0.01
# Candidates need a class probability greater than this.
_C.MODEL.RETINANET.INFERENCE_TH = 0.05
# NMS within a class suppresses at an IoU greater than this.
_C.MODEL.RETINANET.NMS_TH = 0.4
# True: the box loss turns linear earlier as the errors shrink (RetinaMask); BBOX_REG_BETA is the
# latest point.
_C.MODEL.RETINANET.SELFADJUST_SMOOTH_L1 = False
# True: the best anchors of each ground truth are positive whatever their IoU.
_C.MODEL.RETINANET.LOW_QUALITY_MATCHES = True
# Those best anchors need at least this IoU. 0: any overlap will do.
_C.MODEL.RETINANET.LOW_QUALITY_THRESHOLD = 0.0
# Detections of an image that are kept when a mask head follows (RetinaMask); 0: no such limit.
_C.MODEL.RETINANET.NUM_MASKS_TEST = 50

_C.MODEL.ROI_HEADS = CfgNode()
# Kept for old YAMLs; read by nothing (RoIs are pooled from as many levels as POOLER_SCALES has).
_C.MODEL.ROI_HEADS.USE_FPN = False
# A proposal is positive at an IoU >= this with a ground truth.
_C.MODEL.ROI_HEADS.FG_IOU_THRESHOLD = 0.5
# A proposal is negative below this IoU.
_C.MODEL.ROI_HEADS.BG_IOU_THRESHOLD = 0.5
# Weights of the box targets (dx, dy, dw, dh).
_C.MODEL.ROI_HEADS.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# Proposals drawn from an image for the box head's loss.
_C.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512
# Share of positives aimed at among them, 0..1.
_C.MODEL.ROI_HEADS.POSITIVE_FRACTION = 0.25
# Detections of two-stage models need a score greater than this.
_C.MODEL.ROI_HEADS.SCORE_THRESH = 0.05
# NMS within a class suppresses at an IoU greater than this (two-stage models).
_C.MODEL.ROI_HEADS.NMS = 0.5
# Detections kept for an image (two-stage models; others: TEST.DETECTIONS_PER_IMG).
_C.MODEL.ROI_HEADS.DETECTIONS_PER_IMG = 100

_C.MODEL.ROI_BOX_HEAD = CfgNode()
# Name of the feature extractor, a key of `registry.ROI_BOX_FEATURE_EXTRACTORS`.
_C.MODEL.ROI_BOX_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
# Name of the predictor, a key of `registry.ROI_BOX_PREDICTOR`.
_C.MODEL.ROI_BOX_HEAD.PREDICTOR = "FastRCNNPredictor"
# Side of a pooled RoI in cells.
_C.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 14
# RoIAlign samples in each direction of a cell; 0: adaptive, ceil(RoI side / resolution).
_C.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO = 0
# 1 / stride of the maps that are pooled from, finest first.
_C.MODEL.ROI_BOX_HEAD.POOLER_SCALES = (1.0 / 16,)
# Number of classes of box, mask and mask-IoU head, background included; see MODEL.NUM_CLASSES.
_C.MODEL.ROI_BOX_HEAD.NUM_CLASSES = 81
# Width of the fully connected layers.
_C.MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM = 1024
# True: group norm in the head.
_C.MODEL.ROI_BOX_HEAD.USE_GN = False
# Norm in the head: "GN", "BN", "FrozenBN" (both behind convolutions only); "": USE_GN decides.
_C.MODEL.ROI_BOX_HEAD.NORM = ""
# Dilation of its convolutions.
_C.MODEL.ROI_BOX_HEAD.DILATION = 1
# Channels of its convolutions (FPNXconv1fcFeatureExtractor).
_C.MODEL.ROI_BOX_HEAD.CONV_HEAD_DIM = 256
# Number of its convolutions (FPNXconv1fcFeatureExtractor).
_C.MODEL.ROI_BOX_HEAD.NUM_STACKED_CONVS = 4

_C.MODEL.ROI_MASK_HEAD = CfgNode()
# Name of the feature extractor, a key of `registry.ROI_MASK_FEATURE_EXTRACTORS`.
_C.MODEL.ROI_MASK_HEAD.FEATURE_EXTRACTOR = "ResNet50Conv5ROIFeatureExtractor"
# Name of the predictor, a key of `registry.ROI_MASK_PREDICTOR`.
_C.MODEL.ROI_MASK_HEAD.PREDICTOR = "MaskRCNNC4Predictor"
# Side of a pooled RoI in cells.
_C.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
# RoIAlign samples in each direction of a cell; 0: adaptive, ceil(RoI side / resolution).
_C.MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO = 0
# 1 / stride of the maps that are pooled from, finest first.
_C.MODEL.ROI_MASK_HEAD.POOLER_SCALES = (1.0 / 16,)
# Kept for old YAMLs; read by nothing (the mask head has no fully connected layer).
_C.MODEL.ROI_MASK_HEAD.MLP_HEAD_DIM = 1024
# Channels of the convolutions, one entry for each.
_C.MODEL.ROI_MASK_HEAD.CONV_LAYERS = (256, 256, 256, 256)
# Side of the predicted mask in cells.
_C.MODEL.ROI_MASK_HEAD.RESOLUTION = 14
# True: the mask head works on the box head's features (C4 models).
_C.MODEL.ROI_MASK_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True
# True: the model pastes masks into images of the resized size itself.
_C.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS = False
# Probability from which a pixel of a pasted mask is set, 0..1.
_C.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS_THRESHOLD = 0.5
# Dilation of the convolutions.
_C.MODEL.ROI_MASK_HEAD.DILATION = 1
# True: group norm in the head.
_C.MODEL.ROI_MASK_HEAD.USE_GN = False
# Norm in the head: "GN", "BN", "FrozenBN"; "": USE_GN decides.
_C.MODEL.ROI_MASK_HEAD.NORM = ""
# Rule that chooses an RoI's pyramid level, a key of `registry.LEVEL_MAPPERS`:
# "MASKRCNNLevelMapFunc" (by the RoI's size) or "CenterMaskLevelMapFunc" (by its share of the
# image). The two-stage box head reads it too.
_C.MODEL.ROI_MASK_HEAD.LEVEL_MAP_FUNCTION = "MASKRCNNLevelMapFunc"
# Standard deviation of the normal distribution that the last convolution (class logits) starts
# from; small values start the mask loss near ln 2. 0: Kaiming initialisation, as published.
_C.MODEL.ROI_MASK_HEAD.LOGITS_INIT_STD = 0.0
# Standard deviation of the normal distribution that the spatial attention's convolution starts
# from; small values start the attention near 1/2. 0: PyTorch's initialisation, as published, with
# which the attention of most seeds starts near 0 and keeps the head from learning.
_C.MODEL.ROI_MASK_HEAD.ATTENTION_INIT_STD = 0.0

_C.MODEL.ROI_KEYPOINT_HEAD = CfgNode()
# Name of the feature extractor, a key of `registry.ROI_KEYPOINT_FEATURE_EXTRACTORS`.
_C.MODEL.ROI_KEYPOINT_HEAD.FEATURE_EXTRACTOR = "KeypointRCNNFeatureExtractor"
# Name of the predictor, a key of `registry.ROI_KEYPOINT_PREDICTOR`.
_C.MODEL.ROI_KEYPOINT_HEAD.PREDICTOR = "KeypointRCNNPredictor"
# Side of a pooled RoI in cells.
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION = 14
# RoIAlign samples in each direction of a cell; 0: adaptive, ceil(RoI side / resolution).
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO = 0
# 1 / stride of the maps that are pooled from, finest first.
_C.MODEL.ROI_KEYPOINT_HEAD.POOLER_SCALES = (1.0 / 16,)
# Kept for old YAMLs; read by nothing (the keypoint head has no fully connected layer).
_C.MODEL.ROI_KEYPOINT_HEAD.MLP_HEAD_DIM = 1024
# Channels of the convolutions, one entry for each.
_C.MODEL.ROI_KEYPOINT_HEAD.CONV_LAYERS = (512, 512, 512, 512, 512, 512, 512, 512)
# Side of the predicted heat map in cells.
_C.MODEL.ROI_KEYPOINT_HEAD.RESOLUTION = 14
# Number of keypoints (not of classes): 17 for COCO's persons.
_C.MODEL.ROI_KEYPOINT_HEAD.NUM_CLASSES = 17
# True: the keypoint head works on the box head's features.
_C.MODEL.ROI_KEYPOINT_HEAD.SHARE_BOX_FEATURE_EXTRACTOR = True

_C.MODEL.ROI_MASKIOU_HEAD = CfgNode()
# Name of the feature extractor, a key of `registry.ROI_MASKIOU_FEATURE_EXTRACTORS`.
_C.MODEL.ROI_MASKIOU_HEAD.FEATURE_EXTRACTOR = "MaskIoUFeatureExtractor"
# Name of the predictor, a key of `registry.ROI_MASKIOU_PREDICTOR`.
_C.MODEL.ROI_MASKIOU_HEAD.PREDICTOR = "MaskIoUPredictor"
# Channels of the convolutions, one entry for each; the last one has stride 2.
_C.MODEL.ROI_MASKIOU_HEAD.CONV_LAYERS = (256, 256, 256, 256)
