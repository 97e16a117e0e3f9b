#!/bin/sh
# confined MEMORY CPUS COMMAND…: runs a command in a cpuset with these nodes' memory and on these
# CPUs; '' are all.
group=/sys/fs/cgroup/confined.$$
mkdir $group
echo "$1" >$group/cpuset.mems
echo "$2" >$group/cpuset.cpus
echo $$ >$group/cgroup.procs
shift 2
exec "$@"
