"""The figures of the README, one script each: `make bench`, or `make bench NAME=demo`."""
