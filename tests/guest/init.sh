#!/bin/busybox sh
# The guest's first process: runs the programs one after the other, tells the host on the second
# serial port what they print and how they end, and switches the machine off.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo '+cpuset +memory' >/sys/fs/cgroup/cgroup.subtree_control
ip link set lo up 2>/dev/null

report=/dev/ttyS1
stty -F $report raw -echo

# The kernel would move pages on its own. What is shown here is where the allocators put them.
echo 0 >/proc/sys/kernel/numa_balancing

export LD_LIBRARY_PATH=/lib
export GTEST_COLOR=no
while read -r name seconds; do
  echo "<4>numaheap guest: $name" >/dev/kmsg
  printf '\n@@ begin %s\n' "$name" >$report
  timeout -s KILL "$seconds" sh "/programs/$name" >$report 2>&1 </dev/null
  printf '\n@@ end %s %s\n' "$name" $? >$report
done </programs.list
printf '\n@@ done\n' >$report
poweroff -f
