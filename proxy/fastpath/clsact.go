package fastpath

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// What is ours at a clsact qdisc is told by the filter's name. Its handle says whether the qdisc was made for it, so that who cleans up
// after a process that was killed knows too.
const (
	filterName = "halfopen"

	handleGuest = 1 // there was a qdisc already
	handleOwner = 2 // we made it

	// Filters of lower priority numbers come first. Scripts count from 1; who adds a filter of another kind at a number that is in use is
	// refused, so ours is none of the usual ones.
	firstPriority = 7
	lastPriority  = 47
)

// addFilter hangs a program on an interface's ingress, behind a qdisc that is made where there is none.
func (a *attacher) addFilter(index int, prog *ebpf.Program) (*netlink.BpfFilter, error) {
	info, err := prog.Info()
	if err != nil {
		return nil, fmt.Errorf("asking for the program: %w", err)
	}
	id, _ := info.ID() // since Linux 4.13
	made, err := a.makeQdisc(index)
	if err != nil {
		return nil, err
	}
	f := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: handleGuest, Protocol: unix.ETH_P_ALL},
		Fd:          prog.FD(), Name: filterName, DirectAction: true, Id: int(id),
	}
	if made {
		f.Handle = handleOwner
	}
	if f.Priority, err = a.freePriority(index); err == nil {
		err = a.add(f)
	}
	if err == nil {
		return f, nil
	}
	if made {
		_ = a.removeQdisc(index) // as it was before; the error below is what matters
	}
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil, errGone
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP) && made:
		return nil, fmt.Errorf("%w: it has no bpf filters (CONFIG_NET_CLS_BPF): %w", ErrUnsupported, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("adding a filter: somebody else's qdisc does not take it (a shared block?): %w", err)
	}
	return nil, fmt.Errorf("adding a filter: %w", err)
}

// makeQdisc sees to it that filters can hang on the ingress.
func (a *attacher) makeQdisc(index int) (made bool, err error) {
	has, err := a.hasIngress(index)
	if err != nil || has {
		return false, err
	}
	err = a.nl.QdiscAdd(clsact(index))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EEXIST): // made by somebody meanwhile
		return false, nil
	case errors.Is(err, unix.ENODEV):
		return false, errGone
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return false, fmt.Errorf("%w: it has no clsact (CONFIG_NET_SCH_INGRESS): %w", ErrUnsupported, err)
	}
	return false, fmt.Errorf("adding a clsact qdisc: %w", err)
}

func clsact(index int) netlink.Qdisc {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

// byIndex is as much of an interface as a question about it needs.
func byIndex(index int) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// hasIngress tells whether an interface has a qdisc for filters at its ingress: clsact, or the older one that has nothing else.
func (a *attacher) hasIngress(index int) (bool, error) {
	all, err := a.nl.QdiscList(byIndex(index))
	switch {
	case errors.Is(err, unix.ENODEV):
		return false, errGone
	case err != nil && !errors.Is(err, netlink.ErrDumpInterrupted):
		return false, fmt.Errorf("listing qdiscs: %w", err)
	}
	for _, q := range all {
		if k := q.Type(); k == "clsact" || k == "ingress" {
			return true, nil
		}
	}
	return false, nil
}

// filters lists an interface's filters in one direction.
func (a *attacher) filters(index int, parent uint32) ([]netlink.Filter, error) {
	all, err := a.nl.FilterList(byIndex(index), parent)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	return all, nil
}

// freePriority is a number that no filter has.
func (a *attacher) freePriority(index int) (uint16, error) {
	all, err := a.filters(index, netlink.HANDLE_MIN_INGRESS)
	if err != nil {
		return 0, err
	}
	used := map[uint16]bool{}
	for _, f := range all {
		used[f.Attrs().Priority] = true
	}
	for p := uint16(firstPriority); p <= lastPriority; p++ {
		if !used[p] {
			return p, nil
		}
	}
	return 0, fmt.Errorf("priorities %d to %d are all taken", firstPriority, lastPriority)
}

// hasFilter asks whether a filter of ours is still there.
func (a *attacher) hasFilter(f *netlink.BpfFilter) (bool, error) {
	there, err := a.filters(f.LinkIndex, f.Parent)
	if err != nil && !noFilter(err) {
		return false, fmt.Errorf("listing filters: %w", err)
	}
	return slices.ContainsFunc(there, func(g netlink.Filter) bool {
		b, ok := g.(*netlink.BpfFilter)
		return ok && b.Priority == f.Priority && b.Handle == f.Handle && b.Id == f.Id && b.Name == filterName
	}), nil
}

// removeFilter takes a filter of ours off, and the qdisc if it was made for it and has no other. Where it is no more, what is there
// instead is somebody else's.
func (a *attacher) removeFilter(f *netlink.BpfFilter) error {
	there, err := a.hasFilter(f)
	if err != nil || !there {
		return err
	}
	if err := a.nl.FilterDel(f); err != nil && !noFilter(err) {
		return fmt.Errorf("removing the filter: %w", err)
	}
	if f.Handle != handleOwner {
		return nil
	}
	if err := a.removeQdisc(f.LinkIndex); err != nil {
		return fmt.Errorf("removing the clsact qdisc: %w", err)
	}
	return nil
}

// noFilter: the filter, its qdisc or its interface is gone.
func noFilter(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

// removeQdisc removes a qdisc that has no filter left.
func (a *attacher) removeQdisc(index int) error {
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		if left, err := a.filters(index, parent); err != nil || len(left) > 0 {
			return nil // in use; or gone with its interface
		}
	}
	if err := a.nl.QdiscDel(clsact(index)); err != nil && !noFilter(err) {
		return err
	}
	return nil
}

// leftover is a filter of our name.
type leftover struct {
	device device
	filter *netlink.BpfFilter
}

// leftovers finds the filters of our name on any interface. Whose they are the lock tells.
func (a *attacher) leftovers(devices []device) []leftover {
	var found []leftover
	for _, d := range devices {
		if has, err := a.hasIngress(d.index); err != nil || !has {
			continue // gone meanwhile, or none
		}
		all, err := a.filters(d.index, netlink.HANDLE_MIN_INGRESS)
		if err != nil {
			continue
		}
		for _, f := range all {
			if b, ok := f.(*netlink.BpfFilter); ok && b.Name == filterName {
				found = append(found, leftover{d, b})
			}
		}
	}
	return found
}
