package web

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"sync"

	"halfopen/proxy/decisionlog"
)

// Anonymizer maps addresses so that two that share a prefix of n bits share one of n bits afterwards, and no more: the scheme of
// Crypto-PAn (Fan, Xu, Ammar, Moon: "Prefix-preserving IP address anonymization", 2004) with AES-256. The same key gives the same map.
// IPv4 and IPv6 are mapped apart from each other. Its methods may be called from several goroutines.
type Anonymizer struct {
	block cipher.Block
	pad   [2][16]byte // of IPv4 and of IPv6

	mu   sync.Mutex
	seen map[netip.Addr]netip.Addr
}

// anonymizerKeeps bounds the addresses whose image is remembered.
const anonymizerKeeps = 1 << 16

// minKey is how many octets a key must have at least.
const minKey = 16

// NewAnonymizer makes a map of a key, which is a file's content: 16 octets or more that nobody can guess, for instance of
// openssl rand -hex 32.
func NewAnonymizer(key []byte) (*Anonymizer, error) {
	key = bytes.TrimRight(key, "\r\n")
	if len(key) < minKey {
		return nil, fmt.Errorf("a key of %d bytes, expected at least %d (openssl rand -hex 32 makes one)", len(key), minKey)
	}
	derive := func(what string) []byte {
		m := hmac.New(sha256.New, key)
		io.WriteString(m, "halfopen anonymize 1 "+what)
		return m.Sum(nil)
	}
	block, err := aes.NewCipher(derive("cipher"))
	if err != nil {
		return nil, err
	}
	a := &Anonymizer{block: block, seen: make(map[netip.Addr]netip.Addr)}
	copy(a.pad[0][:], derive("pad 4"))
	copy(a.pad[1][:], derive("pad 6"))
	return a, nil
}

// Addr is an address's image. An IPv4 address in IPv6's clothes is mapped as the IPv4 address; a zone is dropped.
func (a *Anonymizer) Addr(from netip.Addr) netip.Addr {
	if !from.IsValid() {
		return from
	}
	from = from.Unmap().WithZone("")
	a.mu.Lock()
	defer a.mu.Unlock()
	if to, ok := a.seen[from]; ok {
		return to
	}
	if len(a.seen) >= anonymizerKeeps {
		clear(a.seen)
	}
	to := a.walk(from, from.BitLen(), false)
	a.seen[from] = to
	return to
}

// Prefix is a prefix's image: the prefix of the images of its addresses.
func (a *Anonymizer) Prefix(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(a.walk(p.Addr(), p.Bits(), false), p.Bits()).Masked()
}

// Original is the prefix whose image is p.
func (a *Anonymizer) Original(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(a.walk(p.Addr(), p.Bits(), true), p.Bits()).Masked()
}

// walk maps the first n bits, each by a function of those before it, which is also how they are found back.
func (a *Anonymizer) walk(from netip.Addr, n int, back bool) netip.Addr {
	pad := &a.pad[0]
	if from.Is6() {
		pad = &a.pad[1]
	}
	in := from.AsSlice()
	out := bytes.Clone(in)
	plain := in
	if back {
		plain = out
	}
	var enc [16]byte
	for i := range n {
		text := *pad
		copy(text[:i/8], plain[:i/8])
		if r := i % 8; r > 0 {
			mask := byte(0xff) << (8 - r)
			text[i/8] = plain[i/8]&mask | pad[i/8]&^mask
		}
		a.block.Encrypt(enc[:], text[:])
		if enc[0]&0x80 != 0 {
			out[i/8] ^= 0x80 >> (i % 8)
		}
	}
	to, _ := netip.AddrFromSlice(out)
	return to
}

// AddrPort is an end's image; its port stays.
func (a *Anonymizer) AddrPort(p netip.AddrPort) netip.AddrPort {
	if !p.IsValid() {
		return p
	}
	return netip.AddrPortFrom(a.Addr(p.Addr()), p.Port())
}

var (
	addressLike   = regexp.MustCompile(`[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]*[0-9A-Fa-f:](?:/[0-9]{1,3})?`)
	communityLike = regexp.MustCompile(`1:[A-Za-z0-9+/]{27}=`)
)

// hidden stands for a Community ID whose ends are not known.
const hidden = "1:hidden"

// Text maps the addresses and prefixes in words that others wrote. Community IDs in it, which who knows the range of addresses can
// turn back, are hidden.
func (a *Anonymizer) Text(s string) string {
	s = communityLike.ReplaceAllString(s, hidden)
	return addressLike.ReplaceAllStringFunc(s, a.word)
}

// word maps what may be an address, with a port or a prefix length or neither.
func (a *Anonymizer) word(s string) string {
	if p, err := netip.ParsePrefix(s); err == nil {
		if p.Addr().Is4In6() {
			return a.Addr(p.Addr()).String()
		}
		return a.Prefix(p).String()
	}
	s, length, cut := strings.Cut(s, "/")
	rest := ""
	if cut {
		rest = "/" + length
	}
	for try := s; try != ""; {
		if addr, err := netip.ParseAddr(try); err == nil {
			return a.Addr(addr).String() + s[len(try):] + rest
		}
		i := strings.LastIndexAny(try[:len(try)-1], ".:") // a port behind it, or the end of a sentence
		if i < 0 {
			break
		}
		if last := try[len(try)-1]; last == '.' || last == ':' {
			try = try[:len(try)-1]
			continue
		}
		try = try[:i]
	}
	return s + rest
}

// Line maps a record's line: the addresses in each of its texts, and its Community ID, which becomes that of the mapped ends.
func (a *Anonymizer) Line(raw []byte) ([]byte, error) {
	var ends struct {
		SrcIP    string `json:"src_ip"`
		SrcPort  uint16 `json:"src_port"`
		DestIP   string `json:"dest_ip"`
		DestPort uint16 `json:"dest_port"`
	}
	if err := json.Unmarshal(raw, &ends); err != nil {
		return nil, err
	}
	w := &rewriter{a: a, community: hidden}
	src, err1 := netip.ParseAddr(ends.SrcIP)
	dst, err2 := netip.ParseAddr(ends.DestIP)
	if err1 == nil && err2 == nil {
		w.community = a.community(netip.AddrPortFrom(src, ends.SrcPort), netip.AddrPortFrom(dst, ends.DestPort))
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := w.value(d); err != nil {
		return nil, err
	}
	return w.out.Bytes(), nil
}

// community is the Community ID of two ends' images.
func (a *Anonymizer) community(x, y netip.AddrPort) string {
	return string(decisionlog.AppendCommunityID(nil, a.AddrPort(x), a.AddrPort(y)))
}

// rewriter writes a JSON value again, its texts mapped, in the order that it has.
type rewriter struct {
	a         *Anonymizer
	community string
	out       bytes.Buffer
}

func (w *rewriter) value(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		w.out.WriteByte(byte(t))
		for i := 0; d.More(); i++ {
			if i > 0 {
				w.out.WriteByte(',')
			}
			if t == '{' {
				if err := w.value(d); err != nil {
					return err
				}
				w.out.WriteByte(':')
			}
			if err := w.value(d); err != nil {
				return err
			}
		}
		end, err := d.Token()
		if err != nil {
			return err
		}
		w.out.WriteByte(byte(end.(json.Delim)))
	case string:
		s := w.a.Text(t)
		if communityLike.MatchString(t) && len(t) == 30 {
			s = w.community
		}
		return w.put(s)
	default:
		return w.put(t)
	}
	return nil
}

func (w *rewriter) put(v any) error {
	b, err := json.Marshal(v)
	w.out.Write(b)
	return err
}

// event maps a record that was read from the log.
func (a *Anonymizer) event(e *decisionlog.Event) (*decisionlog.Event, error) {
	raw, err := a.Line(e.Raw)
	if err != nil {
		return nil, err
	}
	out := &decisionlog.Event{File: e.File, Line: e.Line, Offset: e.Offset, Run: e.Run, Raw: raw}
	if err := json.Unmarshal(raw, out); err != nil {
		return nil, err
	}
	return out, nil
}
