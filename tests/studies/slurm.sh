#!/usr/bin/env bash
# Starts a Slurm of one machine as root (packages slurm-wlm and munge), runs a command with it and ends it.
# Usage: tests/studies/slurm.sh COMMAND...   (exit code 77: the daemons do not start here)
set -euo pipefail

place=$(mktemp -d)
end() {
    for name in slurmd slurmctld; do
        if [ -f "$place/$name.pid" ]; then kill "$(cat "$place/$name.pid")" || true; fi
    done
    if [ -n "${munge:-}" ]; then kill "$(cat "$munge")" || true; fi
    sleep 1
    rm -rf "$place"
}
trap end EXIT

mkdir -p "$place"/{state,spool,log} /run/munge
chmod 755 "$place"
cat > "$place/slurm.conf" <<END
ClusterName=local
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again waits for as long (120 s by default).
AuthInfo=cred_expire=10
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/log/slurmctld
SlurmdLogFile=$place/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
NodeName=localhost CPUs=$(nproc) RealMemory=$(($(free -m | awk '/^Mem/ {print $2}') / 2)) State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
if ! munge -n 2> /dev/null | unmunge > /dev/null 2>&1; then
    chown -R munge:munge /run/munge /var/log/munge /etc/munge /var/lib/munge || exit 77
    su -s /bin/sh munge -c "/usr/sbin/munged --force" || exit 77
    munge=/run/munge/munged.pid
fi
export SLURM_CONF=$place/slurm.conf
slurmctld -f "$SLURM_CONF" || exit 77
slurmd -N localhost -f "$SLURM_CONF" || exit 77
for _ in $(seq 30); do
    if sinfo --noheader --format=%T 2> /dev/null | grep -q idle; then break; fi
    sleep 1
done
sinfo --noheader --format=%T 2> /dev/null | grep -q idle || exit 77
sinfo
"$@"
