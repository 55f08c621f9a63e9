"""The parts of a model: backbones, proposal stages, RoI heads and the detector."""
