"""What a set of segmented fish says: a row for each organ of each, groups, fish out of line, and a page of it all."""
