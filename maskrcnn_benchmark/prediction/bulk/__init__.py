"""Many photos through a model: what is done is on the disk, and a killed run goes on with the rest.

* ``sources``: folders, COCO JSON and tar shards become a list of photos, each with a key.
* ``records``: what was found on a photo, or why it could not be read, as one JSON object.
* ``json_lines`` and ``parquet``: files of records that survive a killed writer.
* ``manifest``: which model, settings and sources a set of results is of.
* ``run``: the loop over what is left to do. ``local`` computes in this process, ``ray_data`` on
  others.

All but ``local`` know nothing of models.
"""
