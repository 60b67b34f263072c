"""The same workload and weights, in the same run, through this server and through others."""
