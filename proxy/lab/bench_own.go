package lab

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownLength is how much of a packet owned makes its own: all of a small segment, as the driver of a network card copies small packets.
const ownLength = 256

// owned makes the packets that this namespace sends over a link their own, as what a network card receives is. A veth hands on what TCP
// sent: a clone that shares its data with the sender's retransmission queue. A receiver cannot join clones to one another and runs out
// of buffer, which it then copies together segment by segment (TcpExtTCPRcvCollapsed). The kernel's forwarding unshares each packet on
// its way (ip_forward, skb_cow) and redirecting does not, so that the ends would cost more where the gateway costs less.
func (ns *Namespace) owned(link string) (undo func() error, err error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "ho_own", Type: ebpf.SchedCLS, License: "MIT", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // len of struct __sk_buff (linux/bpf.h)
		asm.JLE.Imm(asm.R2, ownLength, "pull"),
		asm.Mov.Imm(asm.R2, ownLength),
		asm.FnSkbPullData.Call().WithSymbol("pull"),
		asm.Mov.Imm(asm.R0, -1), // TC_ACT_UNSPEC: go on
		asm.Return(),
	}})
	if err != nil {
		return nil, fmt.Errorf("lab: program for packets of their own: %w", err)
	}
	defer prog.Close() // the filter holds it
	l, err := ns.link.LinkByName(link)
	if err != nil {
		return nil, fmt.Errorf("lab: %s in %s: %w", link, ns.Name, err)
	}
	i := l.Attrs().Index
	q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: i, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := ns.link.QdiscAdd(q); err != nil {
		return nil, fmt.Errorf("lab: clsact on %s in %s: %w", link, ns.Name, err)
	}
	err = ns.link.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: i, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
		Fd:          prog.FD(), Name: "ho_own", DirectAction: true,
	})
	undo = func() error { return ns.link.QdiscDel(q) }
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab: filter on %s in %s: %w", link, ns.Name, err), undo())
	}
	return undo, nil
}

// smallEnds readies both ends for small segments: each a packet, and each packet its own where the kernel has what that takes.
func (b *bench) smallEnds() (undo func() error, err error) {
	var undos []func() error
	undo = func() (err error) {
		for _, u := range undos {
			err = errors.Join(err, u())
		}
		return err
	}
	each, err := b.top.Client.segmentEach(linkInside)
	if err != nil {
		return nil, err
	}
	undos = append(undos, each)
	for _, end := range []struct {
		ns   *Namespace
		link string
	}{{b.top.Client, linkInside}, {b.top.Server, linkOutside}} {
		own, err := end.ns.owned(end.link)
		if err != nil {
			b.report.Cloned = err.Error()
			break
		}
		undos = append(undos, own)
	}
	return undo, nil
}
