//go:build netns

package oracle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy/lab"
)

// Verdicts of the kernel, as the rules write them into the DSCP field.
type verdict uint8

const (
	invalid     verdict = 1
	fresh       verdict = 2 // ct state new
	established verdict = 3
)

var verdictWords = [...]string{"?", "INVALID", "new", "established"}

func (v verdict) String() string { return verdictWords[v] }

// marking makes the kernel's classification of each packet visible on the wire. The rules drop nothing: an unconfirmed connection
// would be forgotten. "ct" in a rule is what switches connection tracking on in the namespace.
const marking = `table inet oracle {
	chain classify {
		type filter hook forward priority 0; policy accept;
		ct state invalid meta nfproto ipv4 ip dscp set 1 accept
		ct state invalid ip6 dscp set 1 accept
		ct state new meta nfproto ipv4 ip dscp set 2 accept
		ct state new ip6 dscp set 2 accept
		ct state established meta nfproto ipv4 ip dscp set 3 accept
		ct state established ip6 dscp set 3 accept
	}
}`

// nobody is the hardware address that the ends have for the gateway: no interface has it, so that no stack answers.
var nobody = net.HardwareAddr{0x02, 0, 0, 0x0f, 0x0f, 0x0f}

// kernel is a gateway whose own connection tracking is on.
type kernel struct {
	top      *lab.Topology
	in, out  int // packet sockets: into the gateway's inner link, and on the far end of its outer link
	ethernet [12]byte
	ct       *netlink.Handle
	id       uint16
	buf      []byte
}

func newKernel(t *testing.T) *kernel {
	t.Helper()
	top, err := lab.Build(false)
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{top: top, in: -1, out: -1, buf: make([]byte, 1<<16)}
	t.Cleanup(func() {
		if k.ct != nil {
			k.ct.Close()
		}
		unix.Close(k.in)
		unix.Close(k.out)
		if err := top.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(top.Gateway.Do(k.gateway), top.Server.Do(k.listen), top.Client.Do(k.speak)); err != nil {
		t.Fatal(err)
	}
	return k
}

// gateway sets up rules and neighbours. It runs in the gateway's namespace.
func (k *kernel) gateway() error {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(marking)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	k.ct = h
	inside, err := h.LinkByName("ho-inside")
	if err != nil {
		return err
	}
	copy(k.ethernet[:6], inside.Attrs().HardwareAddr)
	copy(k.ethernet[6:], nobody)
	outside, err := h.LinkByName("ho-outside")
	if err != nil {
		return err
	}
	for _, a := range [...]net.IP{ends4[0].AsSlice(), ends4[1].AsSlice(), ends6[0].AsSlice(), ends6[1].AsSlice()} {
		n := &netlink.Neigh{LinkIndex: outside.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a, HardwareAddr: nobody}
		if err := h.NeighSet(n); err != nil {
			return fmt.Errorf("neighbour %s: %w", a, err)
		}
	}
	return nil
}

func packetSocket(link string) (int, error) {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	proto := uint16(unix.ETH_P_ALL)<<8 | uint16(unix.ETH_P_ALL)>>8
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: l.Index})
}

func (k *kernel) speak() (err error) {
	k.in, err = packetSocket("ho-inside")
	return err
}

func (k *kernel) listen() (err error) {
	if k.out, err = packetSocket("ho-outside"); err != nil {
		return err
	}
	return errors.Join(unix.SetsockoptInt(k.out, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.SetsockoptTimeval(k.out, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
}

// burst is how many packets are under way at a time: well below net.core.netdev_max_backlog.
const burst = 256

// step is one segment of a flow on its way through the kernel.
type step struct {
	f *flow
	i int // index of its segment
}

// run sends the steps in order and returns the kernel's verdict on each. It stays on one CPU: the queues between the interfaces keep
// their order per CPU only.
func (k *kernel) run(steps []step) ([]verdict, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, err
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if all.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, err
	}
	defer unix.SchedSetaffinity(0, &all)
	verdicts := make([]verdict, 0, len(steps))
	frame := make([]byte, 0, 2048)
	for len(steps) > 0 {
		n := min(burst, len(steps))
		first := k.id
		for _, s := range steps[:n] {
			frame = append(frame[:0], k.ethernet[:]...)
			frame = binary.BigEndian.AppendUint16(frame, etherType(s.f))
			frame = s.f.packet(frame, &s.f.segs[s.i], k.id)
			k.id++
			if _, err := unix.Write(k.in, frame); err != nil {
				return nil, fmt.Errorf("send: %w", err)
			}
		}
		for i := range n {
			v, err := k.next(first + uint16(i))
			if err != nil {
				return nil, err
			}
			verdicts = append(verdicts, v)
		}
		steps = steps[n:]
	}
	return verdicts, nil
}

func etherType(f *flow) uint16 {
	if f.v6 {
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}

// next reads the packet that must come out next.
func (k *kernel) next(id uint16) (verdict, error) {
	for {
		n, err := unix.Read(k.out, k.buf)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("packet %d did not come out: %w", id, err)
		case n < 14+40 || string(k.buf[:6]) != string(nobody):
			continue // the links' own traffic
		}
		p := k.buf[14:n]
		var got uint16
		var dscp byte
		switch binary.BigEndian.Uint16(k.buf[12:]) {
		case unix.ETH_P_IP:
			got, dscp = binary.BigEndian.Uint16(p[4:]), p[1]>>2
		case unix.ETH_P_IPV6:
			w := binary.BigEndian.Uint32(p)
			got, dscp = uint16(w), byte(w>>22&0x3f)
		default:
			continue
		}
		if got != id {
			return 0, fmt.Errorf("packet %d came out where %d was due: the kernel dropped or reordered some", got, id)
		}
		if dscp < 1 || dscp > 3 {
			return 0, fmt.Errorf("packet %d: DSCP %d", id, dscp)
		}
		return verdict(dscp), nil
	}
}

// held is what the kernel holds of a connection.
type held struct {
	state conntrack.State
	left  time.Duration // until it is forgotten
}

// states returns the state of every connection that the kernel remembers, by the tuple of its original direction.
func (k *kernel) states() (map[conntrack.Tuple]held, error) {
	states := map[conntrack.Tuple]held{}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		var flows []*netlink.ConntrackFlow
		var err error
		for range 5 { // a dump that is interrupted by a change
			if flows, err = k.ct.ConntrackTableList(netlink.ConntrackTable, family); err == nil {
				break
			}
		}
		if err != nil {
			return nil, err
		}
		for _, c := range flows {
			p, ok := c.ProtoInfo.(*netlink.ProtoInfoTCP)
			if !ok {
				continue
			}
			tu := conntrack.Tuple{SrcPort: c.Forward.SrcPort, DstPort: c.Forward.DstPort}
			copy(tu.Src[:], c.Forward.SrcIP.To16())
			copy(tu.Dst[:], c.Forward.DstIP.To16())
			states[tu] = held{conntrack.State(p.State), time.Duration(c.TimeOut) * time.Second} // the same numbers: enum tcp_conntrack
		}
	}
	return states, nil
}

// batch runs steps through a kernel that remembers nothing, and returns its verdicts and what it remembers then.
func (k *kernel) batch(steps []step) ([]verdict, map[conntrack.Tuple]held, error) {
	if err := k.forget(); err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	verdicts, err := k.run(steps)
	if err != nil {
		return nil, nil, err
	}
	states, err := k.states()
	if err != nil {
		return nil, nil, err
	}
	if d := time.Since(begin); d > patience {
		return nil, nil, fmt.Errorf("the batch took %v: timeouts may have played a part", d)
	}
	return verdicts, states, nil
}

// patience is how long a batch may take before the shortest timeout of the table (CLOSE, 10 s) would matter.
const patience = 8 * time.Second

// forget empties the kernel's table, and drops what is left of an interrupted batch.
func (k *kernel) forget() error {
	for {
		_, _, err := unix.Recvfrom(k.out, k.buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return k.ct.ConntrackTableFlush(netlink.ConntrackTable)
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
