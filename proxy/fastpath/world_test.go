//go:build netns

package fastpath

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"halfopen/conntrack"
)

// world is a gateway's network namespace, in which the test's thread stays, and one of others, to which cables lead.
type world struct{ gateway, others netns.NsHandle }

func newWorld(t *testing.T) *world {
	t.Helper()
	runtime.LockOSThread() // no unlock: a thread that changed its namespace must end with its goroutine
	w := &world{}
	for _, h := range []*netns.NsHandle{&w.others, &w.gateway} {
		ns, err := netns.New() // makes and enters
		check(t, err)
		*h = ns
		t.Cleanup(func() { ns.Close() })
		run(t, "ip", "link", "set", "lo", "up")
	}
	// Counts what comes in: datagrams by the whole mark (that of the stand-in programs below), segments by what the real ones say of them.
	run(t, "nft", `add table inet count; add chain inet count in { type filter hook prerouting priority -300; };
		add counter inet count l2; add counter inet count l3; add counter inet count none;
		add rule inet count in udp dport 4711 meta mark 0x02000014 counter name l2;
		add rule inet count in udp dport 4711 meta mark 0x02000010 counter name l3;
		add rule inet count in udp dport 4711 meta mark 0 counter name none;
		add counter inet count fast; add counter inet count punt; add counter inet count plain;
		add rule inet count in tcp dport 80 meta mark & 0xff000000 == 0x02000000 counter name fast;
		add rule inet count in tcp dport 80 meta mark & 0xff000000 >= 0x03000000 counter name punt;
		add rule inet count in tcp dport 80 meta mark & 0xff000000 == 0 counter name plain`)
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run starts a program in the namespace of the test's thread and returns what it printed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// ip is run for iproute2, with the arguments in one string.
func ip(t *testing.T, args string) string {
	t.Helper()
	return run(t, "ip", strings.Fields(args)...)
}

func tc(t *testing.T, args string) string {
	t.Helper()
	return run(t, "tc", strings.Fields(args)...)
}

// enterGateway brings a subtest's thread where its parent's is.
func enterGateway(w *world) error {
	runtime.LockOSThread() // no unlock: see newWorld
	return netns.Set(w.gateway)
}

// in runs fn in another namespace, on the test's thread.
func (w *world) in(t *testing.T, ns netns.NsHandle, fn func()) {
	t.Helper()
	check(t, netns.Set(ns))
	defer func() { check(t, netns.Set(w.gateway)) }()
	fn()
}

// cable makes an interface of the gateway with its other end, of the same name, among the others. Both are up.
func (w *world) cable(t *testing.T, name string) (index uint32) {
	t.Helper()
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(w.others)}))
	w.in(t, w.others, func() { ip(t, "link set "+name+" up") })
	ip(t, "link set "+name+" up")
	return indexOf(t, name)
}

func indexOf(t *testing.T, name string) uint32 {
	t.Helper()
	l, err := netlink.LinkByName(name)
	check(t, err)
	return uint32(l.Attrs().Index)
}

// datagram is an IPv4 packet with a UDP datagram to the counted port, checksums and all.
func datagram() []byte {
	p := make([]byte, 28)
	copy(p, []byte{0x45, 0, 0, 28, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[22:], 4711)
	binary.BigEndian.PutUint16(p[24:], 8) // no checksum: allowed with IPv4
	return p
}

// acknowledgment is an IPv4 packet with a bare ACK of the flow that settled makes.
func acknowledgment() []byte {
	p := make([]byte, 40)
	copy(p, []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2})
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[20:], 1000)
	binary.BigEndian.PutUint16(p[22:], 80)
	binary.BigEndian.PutUint32(p[24:], 5000)
	binary.BigEndian.PutUint32(p[28:], 7000)
	p[32], p[33] = 0x50, 0x10
	binary.BigEndian.PutUint16(p[34:], 500)
	sum = unix.IPPROTO_TCP + 20 // of the pseudo header, with the addresses in front of the segment
	for i := 12; i < 40; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[36:], ^uint16(sum+sum>>16))
	return p
}

// settled installs a flow that comes in by one interface and goes out by another, and arms it: acknowledgment's segments pass.
func settled(p *Path, in, out uint32) (*Flows, uint32, error) {
	tu := conntrack.MakeTuple(netip.MustParseAddrPort("10.0.0.1:1000"), netip.MustParseAddrPort("10.0.0.2:80"))
	f := p.Flows(0)
	slot, err := f.Install([2]Key{{tu, in}, {tu.Reverse(), out}})
	if err != nil {
		return nil, 0, err
	}
	const flags = conntrack.SideSeen | conntrack.SideKnown | conntrack.SideMaxAck
	st := conntrack.Fast{Deadline: conntrack.Never}
	st.Side[0] = conntrack.FastSide{End: 5000, MaxEnd: 70000, MaxAck: 7000, MaxWin: 500, Win: 500, Flags: flags}
	st.Side[1] = conntrack.FastSide{End: 7000, MaxEnd: 70000, MaxAck: 5000, MaxWin: 65000, Win: 65000, Flags: flags}
	f.Beat(monotonic())
	f.Arm(slot, 0, &st, &conntrack.FastRules{Timeout: time.Hour, Retransmits: 3})
	return f, slot, nil
}

// monotonic is the program's clock.
func monotonic() conntrack.Instant {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return conntrack.Instant(ts.Nano())
}

// send lets one packet come in by an interface of the gateway, whose other end is called peer.
func (w *world) send(t *testing.T, peer string, to net.HardwareAddr, packet []byte) {
	t.Helper()
	w.in(t, w.others, func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		check(t, err)
		defer unix.Close(fd)
		frame := append(append([]byte{}, to...), 2, 0, 0, 0, 0, 9, 8, 0)
		err = unix.Sendto(fd, append(frame, packet...), 0, &unix.SockaddrLinklayer{Ifindex: int(indexOf(t, peer)), Protocol: 8})
		check(t, err)
	})
}

// arrives sends one datagram to an interface of the gateway and returns the name of the counter that it met.
func (w *world) arrives(t *testing.T, name string) string {
	t.Helper()
	return w.meets(t, name, datagram())
}

func (w *world) meets(t *testing.T, name string, packet []byte) string {
	t.Helper()
	l, err := netlink.LinkByName(name)
	check(t, err)
	before := counters(t)
	w.send(t, name, l.Attrs().HardwareAddr, packet)
	return metCounter(t, before)
}

func metCounter(t *testing.T, before map[string]int) string {
	t.Helper()
	var met string
	until(t, "a datagram arrives", func() bool {
		for name, n := range counters(t) {
			if n > before[name] {
				met = name
			}
		}
		return met != ""
	})
	return met
}

var counterText = regexp.MustCompile(`counter (\w+) \{\s*packets (\d+)`)

func counters(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, m := range counterText.FindAllStringSubmatch(run(t, "nft", "list", "counters"), -1) {
		found[m[1]], _ = strconv.Atoi(m[2])
	}
	return found
}

// until waits for something that another thread brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// marker is a program that sets the whole mark and lets the packet go on.
func marker(name string, mark int64, result int32) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{Name: name, Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.R1, 8, mark, asm.Word), // __sk_buff.mark
		asm.Mov.Imm(asm.R0, result), asm.Return(),
	}})
}

// markers are programs that stand in for the real ones: what they let through tells of them by its mark.
func markers() (func(int) *ebpf.Program, func(), error) {
	byHeader := map[int]*ebpf.Program{}
	for _, header := range []int{headerEthernet, headerNone} {
		p, err := marker(fmt.Sprintf("halfopen_%d", header), 0x02000010+int64(header)/3, -1)
		if err != nil {
			return nil, nil, err
		}
		byHeader[header] = p
	}
	return func(h int) *ebpf.Program { return byHeader[h] }, func() {
		for _, p := range byHeader {
			p.Close()
		}
	}, nil
}

// open opens a fast path of stand-in programs, and closes it with the test.
func open(t *testing.T, o Options) *Path {
	t.Helper()
	programs, drop, err := markers()
	check(t, err)
	t.Cleanup(drop)
	o.programs = programs
	p, err := Open(o)
	check(t, err)
	t.Cleanup(func() { check(t, p.Close()) })
	return p
}

// eachHook runs a test with TCX, and as on a kernel that has none.
func eachHook(t *testing.T, fn func(t *testing.T, h hook)) {
	for _, h := range []hook{hookTCX, hookClsact} {
		t.Run(h.String(), func(t *testing.T) { fn(t, h) })
	}
}

// hanging returns the identifiers of all programs at an interface's ingress, in the order in which they run.
func hanging(t *testing.T, name string) (ids []ebpf.ProgramID) {
	t.Helper()
	index := int(indexOf(t, name))
	q, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
	check(t, err)
	for _, p := range q.Programs {
		ids = append(ids, p.ID)
	}
	if !strings.Contains(tc(t, "qdisc show dev "+name), " ffff: ") {
		return ids
	}
	filters, err := netlink.FilterList(byIndex(index), netlink.HANDLE_MIN_INGRESS)
	check(t, err)
	for _, f := range filters {
		if b, ok := f.(*netlink.BpfFilter); ok {
			ids = append(ids, ebpf.ProgramID(b.Id))
		}
	}
	return ids
}
