#!/usr/bin/env bash
# Trains on two hosts on this machine: network namespaces with names of their own, between which MPI goes over TCP, with a latency
# of 2 ms and a loss of 1 % where the kernel has netem. Needs root; tests/mpi.sh installs MPI and builds the program first.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${CARGO_TARGET_DIR:-target}/debug/thalweg")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
near=near$$ far=far$$
end() {
    ip netns del "$near" || true
    ip netns del "$far" || true
    rm -rf "$work"
}
trap end EXIT

ip netns add "$near"
ip netns add "$far"
ip link add v$$ netns "$near" type veth peer name w$$ netns "$far"
host() { # namespace, address, device
    ip -n "$1" link set lo up
    ip -n "$1" addr add "$2/24" dev "$3"
    ip -n "$1" link set "$3" up
    tc -n "$1" qdisc add dev "$3" root netem delay 1ms loss 1% || echo "NOT TESTED: latency and loss" >&2
}
host "$near" 10.77.0.1 v$$
host "$far" 10.77.0.2 w$$

# What mpirun starts on the other host instead of ssh.
cat >"$work/agent" <<AGENT
#!/usr/bin/env bash
shift
exec ip netns exec $far unshare --uts bash -c "hostname far; \$*"
AGENT
chmod +x "$work/agent"
on_hosts() { # arguments of the program
    ip netns exec "$near" unshare --uts bash -c 'hostname near; exec "$@"' mpirun mpirun \
        --mca plm_rsh_agent "$work/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
        --mca oob_tcp_if_include 10.77.0.0/24 --host 10.77.0.1,10.77.0.2 -n 2 --wdir "$work" "$program" "$@"
}

run="--data synthetic --hidden 32 --epochs 2 --device cpu --precision f64 --quiet"
on_hosts bench network
on_hosts train $run --distributed data --run two
(cd "$work" && "$program" train $run --run one)
"$program" compare "$work/one" "$work/two"

# A host that is gone: what it ran is killed, and the rest ends.
on_hosts train $run --epochs 200 --distributed data --run gone >"$work/log" 2>&1 &
until [ -e "$work/gone/checkpoint.safetensors" ]; do sleep 0.2; done
ip netns pids "$far" | xargs kill -9
begun=$SECONDS
! wait $! || { echo "the run did not end with its host" >&2; exit 1; }
echo "ended $((SECONDS - begun)) s after the other host, and said:"
grep -m 3 -iE "far|10.77.0.2|rank 1|lost" "$work/log" || cat "$work/log"
on_hosts train --resume "$work/gone" --epochs 5 --quiet
echo "went on"
