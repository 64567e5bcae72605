"""Shadow: a model that answers nobody yet runs on a share of the scans whose answer is out, and is compared with it.

sample      which scans
queue       the wish for a comparison as a row, leased and fenced as scans are
candidate   the model that is compared
quiet       whether there is anything better to do
comparer    one comparison, slab by slab
worker      the thread that works on the queue
report      what has come of it, per organ
publisher   the same, as a tag of the version in the registry
"""
