"""FBNet: an architecture of its own, with the heads that go with it."""
