package fastpath

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The fast path is given up for what lasts, not for what passes.
func TestKeyRefused(t *testing.T) {
	var k Key
	for _, c := range []struct{ err, is error }{{unix.E2BIG, ErrFull}, {unix.ENOMEM, ErrFull}, {ebpf.ErrKeyExist, ErrKnown}} {
		if err := k.refused(c.err); !errors.Is(err, c.is) || c.is == ErrFull && !errors.Is(err, c.err) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
	if err := k.refused(unix.EPERM); errors.Is(err, ErrFull) || errors.Is(err, ErrKnown) || !errors.Is(err, unix.EPERM) {
		t.Errorf("EPERM: %v", err)
	}
}
