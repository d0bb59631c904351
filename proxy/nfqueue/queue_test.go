package nfqueue

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExplain(t *testing.T) {
	q := &Queue{cfg: Config{Number: 65000}}
	for errno, want := range map[unix.Errno]error{
		unix.EBUSY: ErrInUse, unix.EPERM: ErrPrivilege, unix.EINVAL: ErrUnsupported, unix.EOPNOTSUPP: ErrUnsupported, unix.ENOMEM: unix.ENOMEM,
	} {
		if err := q.explain(errno); !errors.Is(err, want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	c := Config{CopyRange: 1 << 20, FailOpen: true, GSO: true}.withDefaults()
	if c.CopyRange != WholePacket || c.MaxLen != DefaultMaxLen || c.Batch != DefaultBatch || c.flags() != 1|4 {
		t.Errorf("%+v, flags %x", c, c.flags())
	}
}

// TestSendFails shows that a verdict that cannot be sent is counted and reported, also when the buffer ran over.
func TestSendFails(t *testing.T) {
	q := fakeQueue(1, 2, 3)
	q.fd = -1 // nothing can be sent on that
	q.cfg.Batch = 1
	q.prepare()
	q.Accept(1)
	if err := q.AcceptAltered(2, make([]byte, WholePacket)); err != nil {
		t.Fatal(err)
	}
	q.Drop(3) // does not fit any more
	if st := q.Stats(); st.VerdictsLost != 2 {
		t.Errorf("%+v", st)
	}
	if err := q.Flush(); !errors.Is(err, unix.EBADF) {
		t.Errorf("flush: %v", err)
	}
	if st := q.Stats(); st.VerdictsLost != 3 {
		t.Errorf("%+v", st)
	}
	if err := q.Flush(); err != nil {
		t.Errorf("an empty flush reports %v", err)
	}
}

// TestWake wakes a waiter before and while it waits.
func TestWake(t *testing.T) {
	w, err := NewWaiter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if woken, err := w.Wait(0); woken || err != nil {
		t.Errorf("nobody woke it: %v %v", woken, err)
	}
	w.Wake()
	if woken, err := w.Wait(time.Minute); !woken || err != nil {
		t.Errorf("woken before: %v %v", woken, err)
	}
	go func() { time.Sleep(10 * time.Millisecond); w.Wake() }()
	if woken, err := w.Wait(time.Minute); !woken || err != nil {
		t.Errorf("woken while waiting: %v %v", woken, err)
	}
}

func TestRuleSetRefusals(t *testing.T) {
	iif, err := ParseMatch("iif eth0")
	if err != nil {
		t.Fatal(err)
	}
	for name, rs := range map[string]RuleSet{
		"queues": {Queues: [2]uint16{3, 2}},
		"mark":   {MarkMask: 0xff00, InjectMark: 0x10000},
		"hook":   {Hooks: 8},
		"match":  {NoTrack: true, Match: iif},
	} {
		if _, err := rs.Install(); err == nil {
			t.Errorf("%s: installed", name)
		}
	}
	rs := RuleSet{MarkMask: 0x00f0}
	if c := rs.withDefaults(); c.InjectMark != 0x10 || c.Table != DefaultTable || c.Hooks != Forward {
		t.Errorf("%+v", c)
	}
}
