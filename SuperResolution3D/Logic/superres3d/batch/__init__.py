"""Many scans, on one machine or on a cluster: found, planned, done once each, and told of.  See :mod:`superres3d.batch.run`."""
