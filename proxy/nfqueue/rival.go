package nfqueue

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// Rival returns [ErrInUse] where rules in our table feed a queue outside rs.Queues that somebody serves: another gateway that lives,
// from which Install would take the packets away. A queue inside rs.Queues is not looked at, because binding it tells.
func (rs *RuleSet) Rival() error {
	c := rs.withDefaults()
	chains, err := c.chains()
	if err != nil {
		return err
	}
	for _, ch := range chains {
		rules, err := dial().GetRules(ch.Table, ch)
		if err != nil {
			return explainRules("reading our own rules", err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				first, n := fed(e)
				for i := range n {
					number := first + i
					if number >= c.Queues[0] && number <= c.Queues[1] {
						continue
					}
					if owner, ok := queueOwner(number); ok {
						return fmt.Errorf("rules: the table %q feeds queue %d: %w: bound by %s; one gateway per host has rules of its own (stop that program, or serve its queues)",
							c.Table, number, ErrInUse, owner)
					}
				}
			}
		}
	}
	return nil
}

// fed returns the first of n queues that an expression of a rule feeds.
func fed(e expr.Any) (first, n uint16) {
	switch e := e.(type) {
	case *expr.Queue:
		return e.Num, max(e.Total, 1)
	case *expr.Target:
		if info, ok := e.Info.(*xt.Unknown); ok && e.Name == "NFQUEUE" && e.Rev >= 1 && len(*info) >= 4 {
			return binary.NativeEndian.Uint16(*info), binary.NativeEndian.Uint16((*info)[2:])
		}
	}
	return 0, 0
}
