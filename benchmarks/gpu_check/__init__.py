"""GPU check: on a machine with a GPU for the first time, does what was written without one work there, how fast?"""
