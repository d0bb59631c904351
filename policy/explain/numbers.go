package explain

import (
	"fmt"
	"strings"
	"time"

	"halfopen/conntrack"
	"halfopen/policy"
)

// scale says what numbers of one end are relative to.
type scale struct {
	base  conntrack.Seq
	known bool
}

// text prints a number as on the wire, with the relative one behind it where that is known.
func (s scale) text(n conntrack.Seq) string {
	if !s.known {
		return fmt.Sprint(uint32(n))
	}
	return fmt.Sprintf("%d (%d)", uint32(n), n.Diff(s.base))
}

// span prints a pair of numbers.
func (s scale) span(lo, hi conntrack.Seq) string { return s.text(lo) + " to " + s.text(hi) }

// off says how far a number seen is from the one expected.
func off(seen, expected conntrack.Seq) string {
	switch d := seen.Diff(expected); {
	case d == 0:
		return "as expected"
	case d > 0:
		return fmt.Sprintf("%d above", d)
	default:
		return fmt.Sprintf("%d below", -int64(d))
	}
}

// outside says where a number is against a range.
func outside(n, lo, hi conntrack.Seq) string {
	switch {
	case n.In(lo, hi):
		return "inside"
	case hi.Less(n):
		return fmt.Sprintf("%d above its end", n.Diff(hi))
	}
	return fmt.Sprintf("%d below its start", lo.Diff(n))
}

// duration prints a time to the millisecond, where it is that long.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + duration(-d)
	case d >= time.Second:
		d = d.Round(time.Millisecond)
	case d >= time.Millisecond:
		d = d.Round(time.Microsecond)
	}
	if d == 0 {
		return "0s"
	}
	return policy.FormatDuration(d)
}

// kindText calls a segment by its name.
func kindText(s *conntrack.Segment) string {
	switch k := s.Kind(); {
	case s.Defect != conntrack.DefectNone && s.Defect != conntrack.DefectOptions:
		return "packet"
	case k == conntrack.KindSYN:
		return "SYN"
	case k == conntrack.KindSYNACK:
		return "SYN/ACK"
	case k == conntrack.KindRST:
		return "RST"
	case k == conntrack.KindFIN:
		return "FIN"
	case s.Len > 0:
		return fmt.Sprintf("segment of %d bytes", s.Len)
	case k == conntrack.KindACK:
		return "ACK"
	}
	return "segment"
}

// segmentText prints a segment: ends, flags, numbers.
func segmentText(s *conntrack.Segment, from, to scale) string {
	text := fmt.Sprintf("%s %s seq %s", s.Tuple, s.Flags, from.text(s.Seq))
	if s.Flags.Has(conntrack.ACK) {
		text += " ack " + to.text(s.Ack)
	}
	return text + fmt.Sprintf(" len %d win %d", s.Len, s.Window)
}

// optionText prints the options that tracking reads, "" for none.
func optionText(o *conntrack.Options, to scale) string {
	var words []string
	has := func(bit conntrack.OptionSet) bool { return o.Has&bit != 0 }
	if has(conntrack.OptMSS) {
		words = append(words, fmt.Sprintf("mss %d", o.MSS))
	}
	if has(conntrack.OptSACKPermitted) {
		words = append(words, "sackOK")
	}
	if has(conntrack.OptWScale) {
		words = append(words, fmt.Sprintf("wscale %d", o.WScale))
	}
	if has(conntrack.OptTimestamp) {
		words = append(words, fmt.Sprintf("TS val %d ecr %d", o.TSVal, o.TSEcr))
	}
	if has(conntrack.OptSACK) {
		for _, b := range o.SACK[:min(int(o.NSACK), len(o.SACK))] {
			words = append(words, "sack "+to.span(b.Left, b.Right))
		}
	}
	if has(conntrack.OptFastOpen) {
		words = append(words, "fastopen")
	}
	for _, m := range [...]struct {
		bit  conntrack.OptionSet
		word string
	}{{conntrack.OptMD5, "md5"}, {conntrack.OptAO, "ao"}, {conntrack.OptMPTCP, "mptcp"}} {
		if has(m.bit) {
			words = append(words, m.word)
		}
	}
	if has(conntrack.OptOther) {
		words = append(words, "others")
	}
	return strings.Join(words, ", ")
}

// checksumText says what is known of the checksum.
func checksumText(c conntrack.Checksum) string {
	switch c {
	case conntrack.ChecksumGood:
		return "good"
	case conntrack.ChecksumBad:
		return "wrong"
	}
	return "not verified"
}

// behind returns a text behind a separator, "" for "".
func behind(sep, text string) string {
	if text == "" {
		return ""
	}
	return sep + text
}

// Off says how far a number seen is from the one expected.
func Off(seen, expected conntrack.Seq) string { return off(seen, expected) }

// Outside says where a number is against a range.
func Outside(n, lo, hi conntrack.Seq) string { return outside(n, lo, hi) }

// Kind calls a segment by its name: SYN, RST, ACK, segment of 100 bytes.
func Kind(s *conntrack.Segment) string { return kindText(s) }
