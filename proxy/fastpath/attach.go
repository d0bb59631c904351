package fastpath

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hook is where in an interface's ingress a program hangs.
type hook uint8

const (
	hookAuto   hook = iota // TCX where the kernel has it, else clsact; settled by the first interface
	hookTCX                // since Linux 6.6: a link that ends with its owner
	hookClsact             // a bpf filter at a clsact qdisc, which nobody owns
)

// String names the hook as logs and doctor do.
func (h hook) String() string { return [...]string{"none yet", "TCX", "clsact"}[h%3] }

// errGone: the interface vanished meanwhile.
var errGone = errors.New("no such interface any more")

// attacher hangs programs on interfaces, in the network namespace that its handle was made in; with TCX the kernel takes the calling
// thread's instead, so its callers see to it that both are one.
type attacher struct {
	nl   *netlink.Handle
	hook hook
	tcx  func(link.TCXOptions) (link.Link, error) // link.AttachTCX; tests put a kernel without it in
	add  func(netlink.Filter) error               // nl.FilterAdd, likewise
}

func newAttacher(want hook) (*attacher, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	return &attacher{nl: nl, hook: want, tcx: link.AttachTCX, add: nl.FilterAdd}, nil
}

// attachment is our program on one interface: a link with TCX, else a filter.
type attachment struct {
	device device
	header int
	link   link.Link
	filter *netlink.BpfFilter
	since  time.Time // when the program came there; zero for when the path was opened
}

// attach puts the program in front of the others where the kernel has TCX: what they take out of the chain we have seen, and what they
// let go on goes on, as ours lets go on everything but what it redirects.
func (a *attacher) attach(d device, header int, prog *ebpf.Program) (*attachment, error) {
	at := &attachment{device: d, header: header}
	var err error
	if a.hook != hookClsact {
		at.link, err = a.tcx(link.TCXOptions{Interface: d.index, Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		switch {
		case err == nil:
			a.hook = hookTCX
			return at, nil
		case errors.Is(err, unix.ENODEV):
			return nil, errGone
		case a.hook == hookTCX || !errors.Is(err, ebpf.ErrNotSupported):
			return nil, fmt.Errorf("TCX: %w", err)
		}
	}
	if at.filter, err = a.addFilter(d.index, prog); err != nil {
		if a.hook == hookAuto && errors.Is(err, ErrUnsupported) {
			err = fmt.Errorf("%w; and it has no TCX either (Linux 6.6)", err)
		}
		return nil, err
	}
	a.hook = hookClsact
	return at, nil
}

// detach takes the program off. An interface that is gone, or in another namespace now, has lost it, or loses it here.
func (a *attacher) detach(at *attachment) error {
	if at.link != nil {
		return at.link.Close()
	}
	return a.removeFilter(at.filter)
}

// devices lists the interfaces of the namespace.
func (a *attacher) devices() ([]device, error) {
	links, err := a.nl.LinkList()
	for range 3 {
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		links, err = a.nl.LinkList()
	}
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // an incomplete list: the watcher is told of what is missing
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	all := make([]device, len(links))
	for i, l := range links {
		all[i] = deviceOf(l)
	}
	return all, nil
}

// device asks for one interface; errGone where there is none.
func (a *attacher) device(index int) (device, error) {
	l, err := a.nl.LinkByIndex(index)
	var none netlink.LinkNotFoundError
	switch {
	case errors.As(err, &none):
		return device{}, errGone
	case err != nil:
		return device{}, fmt.Errorf("asking for interface %d: %w", index, err)
	}
	return deviceOf(l), nil
}
