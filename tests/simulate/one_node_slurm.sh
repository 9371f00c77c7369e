#!/bin/bash
# Starts a SLURM of one node on this machine, for tests/simulate/test_slurm.py. Needs root and Debian's packages
# slurmctld, slurmd, slurm-client and munge; meant for containers.
#   bash tests/simulate/one_node_slurm.sh start | stop
set -eu
state=${TMPDIR:-/var/tmp}/one-node-slurm
export SLURM_CONF=$state/slurm.conf
case "${1:-}" in
start)
    mkdir -p "$state"/{ctld,d,log} /run/munge
    chown munge: /run/munge /var/log/munge /var/lib/munge /etc/munge
    [ -s /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1 count=1024 status=none; }
    chown munge: /etc/munge/munge.key && chmod 400 /etc/munge/munge.key
    [ -S /run/munge/munge.socket.2 ] || runuser -u munge -- munged --force
    cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/log/ctld.log
SlurmdLogFile=$state/log/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=2000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    slurmctld
    slurmd
    for _ in $(seq 30); do
        sinfo -h -o %T 2>/dev/null | grep -qE 'idle|mixed' && { echo "export SLURM_CONF=$SLURM_CONF"; exit 0; }
        sleep 1
    done
    sinfo || true
    tail -5 "$state"/log/*.log
    exit 1
    ;;
stop)
    for pid in "$state/slurmd.pid" "$state/slurmctld.pid" /run/munge/munged.pid; do
        [ -f "$pid" ] && kill "$(cat "$pid")" || true
    done
    sleep 2 # they write their state
    rm -rf "$state"
    ;;
*)
    echo "usage: $0 start | stop" >&2
    exit 2
    ;;
esac
