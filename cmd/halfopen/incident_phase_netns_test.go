//go:build netns

package main

// incident is one phase in one capture: the old connection, and what came from the second dial on.
type incident struct {
	old, after []seen
}

func phaseOf(all []seen, port int) (in incident) {
	syns := 0
	first := -1
	for _, s := range all {
		if s.client != port {
			continue
		}
		if s.isSYN() && s.toServer && s.seq != first {
			if syns++; syns == 1 {
				first = s.seq
			}
		}
		if syns < 2 {
			in.old = append(in.old, s)
		} else {
			in.after = append(in.after, s)
		}
	}
	return in
}

// cutAt cuts a capture that the second SYN perhaps never reached, at the time read from one that it did.
func cutAt(all []seen, port int, at float64) (in incident) {
	for _, s := range all {
		if s.client == port && s.at < at {
			in.old = append(in.old, s)
		} else if s.client == port {
			in.after = append(in.after, s)
		}
	}
	return in
}

func filter(all []seen, pick func(seen) bool) (out []seen) {
	for _, s := range all {
		if pick(s) {
			out = append(out, s)
		}
	}
	return out
}

func (in incident) syns() []seen {
	return filter(in.after, func(s seen) bool { return s.toServer && s.isSYN() })
}

// bareACKs are the answers to the SYNs that are none: those before any SYN/ACK.
func (in incident) bareACKs() (out []seen) {
	for _, s := range in.after {
		if !s.toServer && s.isSYNACK() {
			return out
		}
		if !s.toServer && s.isBareACK() {
			out = append(out, s)
		}
	}
	return out
}

func (in incident) synACKs() []seen {
	return filter(in.after, func(s seen) bool { return !s.toServer && s.isSYNACK() })
}

// lastNumbers returns the old connection's numbers: what the client and the server would have sent next.
func (in incident) lastNumbers() (client, server int) {
	for _, s := range in.old {
		if s.isRST() || s.isSYN() {
			continue
		}
		next := s.seq + s.length
		if s.flags&(syn|fin) != 0 {
			next++
		}
		if s.toServer {
			client = next
		} else {
			server = next
		}
	}
	return client, server
}

// secondsToConnect is the time between the second dial's first SYN and its SYN/ACK, -1 if there is none.
func (in incident) secondsToConnect() float64 {
	if len(in.syns()) == 0 || len(in.synACKs()) == 0 {
		return -1
	}
	return in.synACKs()[0].at - in.syns()[0].at
}
