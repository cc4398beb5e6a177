# Passes frames on between two TAP devices, each so many milliseconds later: what `tc netem` does where it exists.
#
# In Python, because a TAP device is opened by an ioctl, which Rust can't do without `unsafe`. It ends with its input.

import collections, fcntl, os, select, struct, sys, time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
delay = int(sys.argv[1]) / 1000
ends = []
for name in sys.argv[2:4]:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    ends.append(end)
print("ready", flush=True)
waiting = collections.deque()
while True:
    pause = max(0, waiting[0][0] - time.monotonic()) if waiting else None
    readable, _, _ = select.select([*ends, 0], [], [], pause)
    if 0 in readable and not os.read(0, 1):
        break
    for end in ends:
        if end in readable:
            other = ends[1] if end == ends[0] else ends[0]
            try:
                frame = os.read(end, 65536)
            except OSError:
                sys.exit()  # The device was taken away: the cable is healed.
            waiting.append((time.monotonic() + delay, other, frame))
    while waiting and waiting[0][0] <= time.monotonic():
        _, end, frame = waiting.popleft()
        try:
            os.write(end, frame)
        except OSError:
            pass  # A full queue or a link that is down loses frames, as a cable does.
