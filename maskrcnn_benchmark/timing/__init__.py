"""How long a model takes from a photo's file to its masks, and where the time goes.

* ``stages``: what lies between hooks of one call.
* ``contenders``: a model in an inference mode, photo to run lengths.
* ``turns``: contenders take turns; medians and 90th percentiles.
* ``tables``: the numbers in Markdown. ``machine``: what they are of.
"""
