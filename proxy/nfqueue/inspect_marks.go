package nfqueue

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// betweenMarks tells whether a chain can see a packet after a fast path has marked it and before our rules look at the mark: at the
// netdev ingress, before routing, and in forward before us. A chain without a hook is called from somewhere.
func betweenMarks(ch *nftables.Chain) bool {
	switch ch.Table.Family {
	case nftables.TableFamilyARP, nftables.TableFamilyBridge:
		return false
	case nftables.TableFamilyNetdev:
		return ch.Hooknum == nil || *ch.Hooknum == *nftables.ChainHookIngress
	}
	switch {
	case ch.Hooknum == nil, *ch.Hooknum == *nftables.ChainHookPrerouting:
		return true
	case *ch.Hooknum == *nftables.ChainHookForward:
		return ch.Priority != nil && int(*ch.Priority) <= queuePriority
	}
	return false
}

// overwrites tells whether a rule sets the packet's mark without keeping the bits of a mask.
func overwrites(exprs []expr.Any, mask uint32) bool {
	kept := map[uint32]uint32{} // by register: the bits that are still those of the packet's mark
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			switch {
			case !e.SourceRegister && e.Key == expr.MetaKeyMARK:
				kept[register(e.Register)] = ^uint32(0)
			case !e.SourceRegister:
				kept[register(e.Register)] = 0
			case e.Key == expr.MetaKeyMARK && kept[register(e.Register)]&mask != mask:
				return true
			}
		case *expr.Bitwise:
			if len(e.Mask) == 4 && len(e.Xor) == 4 {
				kept[register(e.DestRegister)] = kept[register(e.SourceRegister)] & binary.NativeEndian.Uint32(e.Mask) &^ binary.NativeEndian.Uint32(e.Xor)
			}
		case *expr.Immediate:
			kept[register(e.Register)] = 0
		case *expr.Ct:
			if !e.SourceRegister {
				kept[register(e.Register)] = 0
			}
		case *expr.Lookup:
			if e.IsDestRegSet {
				kept[register(e.DestRegister)] = 0
			}
		case *expr.Numgen:
			kept[register(e.Register)] = 0
		case *expr.Hash:
			kept[register(e.DestRegister)] = 0
		case *expr.Target:
			if targetBits(e)&mask != 0 {
				return true
			}
		}
	}
	return false
}

// register is one name for the two that the kernel has for the beginning of a 16-byte register (NFT_REG_1 and NFT_REG32_00).
func register(r uint32) uint32 {
	if r >= unix.NFT_REG32_00 && (r-unix.NFT_REG32_00)%4 == 0 {
		return unix.NFT_REG_1 + (r-unix.NFT_REG32_00)/4
	}
	return r
}

// targetBits returns the bits of the mark that an xtables target sets: MARK (struct xt_mark_tginfo2) and CONNMARK when it restores
// (struct xt_connmark_tginfo1 and 2).
func targetBits(e *expr.Target) uint32 {
	info, ok := e.Info.(*xt.Unknown)
	if !ok {
		return 0
	}
	word := func(i int) uint32 { return binary.NativeEndian.Uint32((*info)[4*i:]) }
	const restore = 2
	switch {
	case e.Name == "MARK" && e.Rev == 2 && len(*info) >= 8:
		return word(0) | word(1)
	case e.Name == "CONNMARK" && (e.Rev == 1 && len(*info) >= 13 && (*info)[12] == restore || e.Rev == 2 && len(*info) >= 15 && (*info)[14] == restore):
		return word(1) | word(2)
	}
	return 0
}
