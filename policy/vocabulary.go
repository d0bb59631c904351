package policy

import "slices"

// PacketWords returns the words of the packet part of an action, by [PacketAction].
func PacketWords() []string { return slices.Clone(packetWords[:]) }

// ReplyWords returns the words of the reply part of an action, by [ReplyAction].
func ReplyWords() []string { return slices.Clone(replyWords[:]) }

// PeerWords returns the words of the peer part of an action, by [PeerAction].
func PeerWords() []string { return slices.Clone(peerWords[:]) }

// ReloadWords returns the words for what becomes of live flows at a reload, by [Reload].
func ReloadWords() []string { return slices.Clone(reloadWords[:]) }

// OmitWords returns why an answer that an action asked for may have been left out.
func OmitWords() []string {
	return []string{OmitDefect, OmitChecksum, OmitAddress, OmitRST, OmitNoState, OmitNoNumbers, OmitRate, OmitFlowGap}
}

// ConditionWords returns the words for the condition of an action that did not hold.
func ConditionWords() []string { return append(slices.Clone(conditionWords[:]), unmetWithin) }

// OneOf returns "a, b or c" for a message about the unknown word w, with the nearest of the words where one is near.
func OneOf(w string, words []string) string { return oneOf(w, words) }

// Quote returns a piece of a file for a message: quoted, and shortened where it is long.
func Quote(s string) string { return quote(s) }

// ProblemAt returns a problem of any file: line n and column col, both from 1, of which text is the line. A column of 0 is
// unknown.
func ProblemAt(file string, n, col int, text, found, expected string) Problem {
	p := Problem{File: file, Line: n, Column: col, Found: found, Expected: expected}
	p.Excerpt, p.Caret = excerpt(text, max(col, 1))
	return p
}
