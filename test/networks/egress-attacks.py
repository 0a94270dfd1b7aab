# Sends what must not leave, from a container's network namespace, with all rights there: egress.test.ts says what of it arrives.
# usage: egress-attacks.py TARGET4 TARGET6 METADATA ALLOWED PINNED, addresses. Each attack carries `sent-NAME.`
import socket, struct, subprocess, sys

target4, target6, metadata, allowed, pinned = sys.argv[1:]


def shell(command):
    return subprocess.check_output(command, shell=True, text=True).strip()


# The gateway's hardware address: it must be known, by asking for it as everybody may.
gateway4 = shell("ip -4 route show default | cut -d' ' -f3")
gateway6 = shell("ip -6 route show default | cut -d' ' -f3")
subprocess.call(f'ping -c1 -W1 {gateway4} >/dev/null; ping -c1 -W1 {gateway6} >/dev/null', shell=True)
bridge = bytes.fromhex(shell(f"ip neigh show {gateway4} | grep -o 'lladdr [^ ]*' | cut -d' ' -f2").replace(':', ''))
own = bytes.fromhex(shell("ip -br link show eth0 | grep -oE '([0-9a-f]{2}:){5}[0-9a-f]{2}'").replace(':', ''))
address4 = shell("ip -4 -br addr show eth0 | grep -oE '[0-9.]+/' | head -1").rstrip('/')
address6 = shell("ip -6 -br addr show eth0 | grep -oE 'fd00[0-9a-f:]+/' | head -1").rstrip('/')
neighbour4, neighbour6 = address4.rsplit('.', 1)[0] + '.99', address6.rsplit(':', 1)[0] + ':99'
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
raw.bind(('eth0', 0))


def checksum(data):
    data += b'\0' * (len(data) % 2)
    total = sum(struct.unpack(f'!{len(data) // 2}H', data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip4(protocol, payload, source=address4, target=target4, fragment=0, number=1, options=b''):
    words = 5 + len(options) // 4
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack('!BBHHHBBH', 0x40 | words, 0, words * 4 + len(payload), number, fragment, 64, protocol, 0) + ends + options
    head = head[:10] + struct.pack('!H', checksum(head)) + head[12:]
    raw.send(bridge + own + b'\x08\0' + head + payload)


def ip6(following, payload, source=address6, target=target6):
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    raw.send(bridge + own + b'\x86\xdd' + struct.pack('!IHBB', 6 << 28, len(payload), following, 64) + ends + payload)


def text(name):
    return f'sent-{name}.'.encode()


def udp4(name, port=99):
    data = text(name)
    return struct.pack('!HHHH', 9999, port, 8 + len(data), 0) + data


def udp6(name, source=address6, target=target6):
    data = text(name)
    head = struct.pack('!HHHH', 9999, 99, 8 + len(data), 0)
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    total = checksum(ends + struct.pack('!II', 8 + len(data), 17) + head + data)
    return head[:6] + struct.pack('!H', total) + data


def echo(name):
    data = struct.pack('!BBHHH', 8, 0, 0, 7, 7) + text(name)
    return data[:2] + struct.pack('!H', checksum(data)) + data[4:]


# A header of options that pads, and one that routes by nobody.
padding = struct.pack('!BBBBBBBB', 17, 0, 1, 4, 0, 0, 0, 0)
routing = struct.pack('!BBBBI', 17, 0, 4, 0, 0)

ip4(1, echo('ping'))
ip4(17, udp4('resolver', 53))
ip4(17, udp4('spoofed'), source=neighbour4)
ip4(17, udp4('options'), options=b'\x01\x01\x01\x00')
ip4(132, struct.pack('!HHII', 1, 2, 3, 4) + text('sctp'))
ip4(47, struct.pack('!HH', 0, 0x800) + text('gre'))
ip4(4, b'\x45' + text('tunnel'))
whole = struct.pack('!HHHH', 9999, 99, 8 + 1000 + len(text('fragment')), 0) + b'x' * 1000 + text('fragment')
ip4(17, whole[:800], fragment=0x2000, number=77)
ip4(17, whole[800:], fragment=100, number=77)
ip4(17, udp4('metadata'), target=metadata)
ip6(17, udp6('six'))
ip6(17, udp6('spoofed-six', neighbour6), source=neighbour6)
ip6(0, padding + udp6('hop-by-hop'))
ip6(60, padding + udp6('destination'))
ip6(43, routing + udp6('routing'))
ip6(44, struct.pack('!BBHI', 17, 0, 0, 5) + udp6('atomic-fragment'))
ip4(17, udp4('pinned'), target=pinned)
ip4(17, udp4('allowed'), target=allowed)
