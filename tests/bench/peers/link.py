"""A link between two network interfaces that delays and loses packets.

Makes an interface here (10.177.0.1) and one in a network namespace of its own (10.177.0.2), and
carries IP packets between them. What lies on the link is the kernel's TCP and anybody's UDP alike.
Prints `ready` once both are up. Each line on standard input sets the weather from then on: the delay in
milliseconds and how many packets of a hundred are lost, in each direction. When standard input ends,
everything is taken away again.

Usage, as root: link.py NAMESPACE
"""

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
NEAR = "10.177.0.1"
FAR = "10.177.0.2"
# Every run loses by the same dice.
SEED = 7


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def interface(name):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def carry(near, far):
    dice = random.Random(SEED)
    delay, loss = 0.0, 0.0
    others = {near: far, far: near}
    weather = b""
    on_the_way = []
    count = 0
    while True:
        wait = max(0.0, on_the_way[0][0] - time.monotonic()) if on_the_way else None
        readable, _, _ = select.select([0, near, far], [], [], wait)
        now = time.monotonic()
        for source in readable:
            if source == 0:
                read = os.read(0, 4096)
                if not read:
                    return
                *lines, weather = (weather + read).split(b"\n")
                for line in lines:
                    milliseconds, percent = line.split()
                    delay, loss = float(milliseconds) / 1000, float(percent) / 100
                continue
            packet = os.read(source, 65536)
            if dice.random() >= loss:
                count += 1
                heapq.heappush(on_the_way, (now + delay, count, others[source], packet))
        while on_the_way and on_the_way[0][0] <= now:
            _, _, target, packet = heapq.heappop(on_the_way)
            try:
                os.write(target, packet)
            except OSError:
                # As in any network, what cannot be sent is lost.
                pass


def main():
    namespace = sys.argv[1]
    ip("netns", "add", namespace)
    try:
        near, far = interface("well-near"), interface("well-far")
        ip("link", "set", "well-far", "netns", namespace)
        ip("addr", "add", NEAR, "peer", FAR, "dev", "well-near")
        ip("link", "set", "well-near", "up")
        ip("-n", namespace, "addr", "add", FAR, "peer", NEAR, "dev", "well-far")
        ip("-n", namespace, "link", "set", "well-far", "up")
        ip("-n", namespace, "link", "set", "lo", "up")
        print("ready", flush=True)
        carry(near, far)
    finally:
        ip("netns", "del", namespace)


main()
