package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is one party's network namespace.
type Namespace struct {
	Name   string // under /run/netns
	handle netns.NsHandle
	link   *netlink.Handle // rtnetlink inside the namespace
}

// newNamespace makes a named network namespace with its loopback interface up.
func newNamespace(name string) (*Namespace, error) {
	ns := &Namespace{Name: name}
	err := onThread(func() error {
		h, err := newNamed(name) // leaves this thread in the new namespace; onThread puts it back
		ns.handle = h
		return err
	})
	if err == nil {
		ns.link, err = netlink.NewHandleAt(ns.handle)
	}
	if err == nil {
		err = ns.up("lo")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab: namespace %s: %w", name, err), ns.Close())
	}
	return ns, nil
}

// onThread runs f on an operating-system thread of its own choice that nothing else uses meanwhile, and gives the thread back only
// in the namespace in which it was found.
func onThread(f func() error) error {
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			errc <- err
			return // still locked: the thread ends here
		}
		defer home.Close()
		err = f()
		if back := netns.Set(home); back != nil {
			errc <- errors.Join(err, fmt.Errorf("lab: leave namespace: %w", back))
			return // still locked: a thread in a foreign namespace must not serve other goroutines
		}
		runtime.UnlockOSThread()
		errc <- err
	}()
	return <-errc
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay in it; goroutines that f starts do not run in it.
func (ns *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(ns.handle); err != nil {
			return fmt.Errorf("lab: enter namespace %s: %w", ns.Name, err)
		}
		return f()
	})
}

// Close removes the namespace's name and lets go of it. It is safe on a half-made namespace and may be called twice.
func (ns *Namespace) Close() error {
	if ns.link != nil {
		ns.link.Close()
		ns.link = nil
	}
	if ns.handle.IsOpen() {
		ns.handle.Close()
	}
	path := filepath.Join(netnsDir, ns.Name)
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	if err := removeNamed(path); err != nil {
		return fmt.Errorf("lab: remove namespace %s: %w", ns.Name, err)
	}
	return nil
}

func (ns *Namespace) up(name string) error {
	l, err := ns.link.LinkByName(name)
	if err != nil {
		return err
	}
	return ns.link.LinkSetUp(l)
}

// sysctl sets net.* parameters of this namespace; the keys are paths below /proc/sys/net. Parameters that the kernel does not have
// are an error only if must is set.
func (ns *Namespace) sysctl(must bool, values map[string]string) error {
	return ns.Do(func() error {
		for key, v := range values {
			// /proc/sys/net shows the namespace of the thread that opens it.
			err := os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(v), 0)
			if err != nil && (must || !errors.Is(err, os.ErrNotExist)) {
				return fmt.Errorf("lab: sysctl %s in %s: %w", key, ns.Name, err)
			}
		}
		return nil
	})
}

// isRoot reports whether this process may make namespaces at all.
func isRoot() bool { return unix.Geteuid() == 0 }
