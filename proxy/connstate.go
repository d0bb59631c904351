package proxy

import "halfopen/conntrack"

// connState names a connection's course in Zeek's words (conn_state of conn.log, base/protocols/conn/main.zeek).
func connState(e *conntrack.Entry) string {
	o, r := &e.Side[conntrack.Original], &e.Side[conntrack.Reply]
	fins := [2]bool{o.Flags&conntrack.SideFIN != 0, r.Flags&conntrack.SideFIN != 0}
	established := e.Flags&conntrack.EntryAssured != 0 || e.State == conntrack.Established
	switch {
	case e.Flags&conntrack.EntryPickedUp != 0:
		return "OTH"
	case e.State == conntrack.Close:
		return resetState(e, established)
	case !established && r.Flags&conntrack.SideSYN == 0:
		if fins[0] {
			return "SH"
		}
		return "S0"
	case fins[0] && fins[1]:
		return "SF"
	case fins[0]:
		return "S2"
	case fins[1]:
		return "S3"
	}
	return "S1"
}

// resetState is connState for a connection that a RST ended.
func resetState(e *conntrack.Entry, established bool) string {
	byOriginator := e.LastDir == conntrack.Original
	switch {
	case established && byOriginator:
		return "RSTO"
	case established:
		return "RSTR"
	case byOriginator:
		return "RSTOS0"
	}
	return "REJ"
}
