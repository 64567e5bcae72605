"""Raw data sets: what lies where in one and whence, and how its labels become class indices on the voxels of a scan."""
