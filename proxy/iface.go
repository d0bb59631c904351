package proxy

import (
	"net"
	"sync"
)

// interfaces names network interfaces for the log. An index is looked up once; an interface that is renamed or made anew keeps its
// old name here until the process ends.
type interfaces struct {
	mu    sync.RWMutex
	names map[uint32]string
}

func newInterfaces() *interfaces { return &interfaces{names: map[uint32]string{0: ""}} }

// name returns the name of the interface with that index, "" for 0 and for an index that nobody knows.
func (i *interfaces) name(index uint32) string {
	i.mu.RLock()
	n, ok := i.names[index]
	i.mu.RUnlock()
	if ok {
		return n
	}
	if dev, err := net.InterfaceByIndex(int(index)); err == nil {
		n = dev.Name
	}
	i.mu.Lock()
	i.names[index] = n
	i.mu.Unlock()
	return n
}
