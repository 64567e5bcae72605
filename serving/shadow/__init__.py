"""Shadow: a model that answers nobody yet runs on a share of the scans whose answer is out, and is compared with it.

sampling           which scans
comparison_queue   the wish for a comparison as a row, leased and fenced as scans are
candidate          the model that is compared
idleness           whether there is anything better to do
comparison         one comparison, slab by slab
agreement          voxels that both models call the same organ
runner             the thread that works on the queue
report             what has come of it, per organ
publisher          the same, as a tag of the version in the registry
service            all of it, as a process has it
"""
