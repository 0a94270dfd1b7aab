# Boots the machine's own systemd as the first process of a container of our own: nothing of the machine can be written.
# $1: a directory for the results; $2: the program to run in there, and its arguments.
# By systemd's own socket first; then by a bus.
set -e
results=$1
shift
mount --make-rprivate /
mount -t proc proc /proc
mount --bind "$results" /mnt
mount -t tmpfs tmpfs /run
# A systemd that may would set limits of the whole kernel, and write to the console.
for directory in / /sys /proc/sys; do
    mountpoint -q "$directory" || mount --bind "$directory" "$directory"
    mount -o remount,bind,ro "$directory"
done
mkdir /run/dev
for device in null zero full random urandom; do
    touch "/run/dev/$device"
    mount --bind "/dev/$device" "/run/dev/$device"
done
touch /run/dev/console
mount --bind /dev/null /run/dev/console
mount --rbind /run/dev /dev
layout=$(stat -f -c %T /sys/fs/cgroup)
hierarchies=$(cut -d: -f2 /proc/self/cgroup)
mount -t tmpfs tmpfs /sys/fs/cgroup
if [ "$layout" = cgroup2fs ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    for hierarchy in $hierarchies; do
        mkdir "/sys/fs/cgroup/${hierarchy#name=}"
        mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/${hierarchy#name=}"
    done
    if [ ! -d /sys/fs/cgroup/systemd ]; then
        mkdir /sys/fs/cgroup/systemd
        mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    fi
fi
mkdir -p /run/systemd/system /run/dbus
cd /run/systemd/system
printf '[Unit]\nDefaultDependencies=no\nWants=probe.service\n' >probe.target
printf '[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n' >dbus.socket
cat >dbus.service <<UNIT
[Unit]
DefaultDependencies=no
Requires=dbus.socket
[Service]
Type=notify
ExecStart=dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation
UNIT
cat >probe.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Environment=PATH=$PATH TMPDIR=/run
ExecStart=sh -x /run/probe
StandardOutput=file:/mnt/output
StandardError=inherit
UNIT
cat >/run/probe <<PROBE
set -e
trap 'echo \$? >/mnt/status.new; mv /mnt/status.new /mnt/status' EXIT
$*
command -v dbus-daemon || exit 0
systemctl start dbus.service
DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket $*
PROBE
export container=other
exec "$SYSTEMD" --system --unit=probe.target --log-target=null --show-status=no
